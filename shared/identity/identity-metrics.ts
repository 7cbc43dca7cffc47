import { Counter, type Registry } from 'prom-client';

/** What a proxy counts of how it came to its identity; when that ends is told by whoever holds it (mtls-report.ts). */
export class IdentityMetrics {
  readonly #renewals: Counter;
  readonly #bundles: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    this.#renewals = new Counter({ name: 'proxy_identity_renewals_total', help: 'Attempts to get a certificate, the first included, by result.', labelNames: ['result'], registers });
    this.#bundles = new Counter({ name: 'proxy_identity_bundle_updates_total', help: 'New trust bundles, by whether they could be used.', labelNames: ['result'], registers });
  }

  renewal(result: 'renewed' | 'refused' | 'failed'): void {
    this.#renewals.inc({ result });
  }

  bundle(result: 'used' | 'refused'): void {
    this.#bundles.inc({ result });
  }
}
