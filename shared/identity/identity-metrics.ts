import { Counter, Gauge, type Registry } from 'prom-client';

/** What a proxy counts of its own identity. */
export class IdentityMetrics {
  readonly #expiresAt: Gauge;
  readonly #renewals: Counter;
  readonly #bundles: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#expiresAt = new Gauge({ name: 'proxy_identity_expires_at', help: 'When this proxy’s certificate expires (Unix time, seconds); 0 while it has none.', registers });
    this.#renewals = new Counter({ name: 'proxy_identity_renewals_total', help: 'Attempts to get a certificate, the first included, by result.', labelNames: ['result'], registers });
    this.#bundles = new Counter({ name: 'proxy_identity_bundle_updates_total', help: 'New trust bundles, by whether they could be used.', labelNames: ['result'], registers });
  }

  expiresAt(wallMs: number): void {
    this.#expiresAt.set(wallMs / 1_000);
  }

  renewal(result: 'renewed' | 'refused' | 'failed'): void {
    this.#renewals.inc({ result });
  }

  bundle(result: 'used' | 'refused'): void {
    this.#bundles.inc({ result });
  }
}
