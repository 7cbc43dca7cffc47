import { Counter, Gauge, type Registry } from 'prom-client';
import type { Clock } from '../clock/clock.js';
import type { Refusal } from '../identity/verdict.js';
import type { Logger } from './logger.js';

interface MtlsReportDependencies {
  readonly registry: Registry;
  readonly logger: Logger;
  readonly clock: Clock;
  /** When our own certificate ends (ms since the epoch). */
  readonly expiresAt: () => number | undefined;
}

interface Allowance {
  left: number;
  at: number;
  /** Cases since the last line that were only counted. */
  untold: number;
}

/** Lines that one subject may write at once, and a second from then on. */
const burst = 10;
const perSecond = 1;

/**
 * Tells metrics and log of whom mutual TLS kept out, and of endpoints that did not prove who they are. Every case is counted; of the log
 * each listener and upstream has its share for each reason, so that nobody fills it by knocking, nor drowns one kind of case in another; a line
 * says how many of its kind before it were not written.
 */
export class MtlsReport {
  readonly #refused: Counter;
  readonly #failed: Counter;
  readonly #allowances = new Map<string, Allowance>();

  constructor(private readonly dependencies: MtlsReportDependencies) {
    const { expiresAt } = dependencies;
    const registers = [dependencies.registry];
    this.#refused = new Counter({ name: 'proxy_mtls_refused_total', help: 'Connections of callers that mutual TLS kept out, by why.', labelNames: ['listener', 'reason'], registers });
    this.#failed = new Counter({ name: 'proxy_mtls_failed_total', help: 'Connections to endpoints that did not prove who they are, by why.', labelNames: ['upstream', 'reason'], registers });
    new Gauge({
      name: 'proxy_identity_expires_timestamp_seconds', help: 'When the certificate of this proxy ends (Unix time); 0 while it has none.', registers,
      // Of several workers, the one that is first without.
      aggregator: 'min',
      collect() {
        const at = expiresAt();
        if (at !== undefined) this.set(at / 1_000);
      },
    });
  }

  refused(listener: string, client: string, { reason, detail, name }: Refusal): void {
    this.#refused.inc({ listener, reason });
    this.#warn(`listener ${listener} ${reason}`, { listener, client, reason, detail, shown: name }, 'mtls: a caller was refused');
  }

  failed(upstream: string, endpoint: string, expected: string, { reason, detail, name }: Refusal): void {
    this.#failed.inc({ upstream, reason });
    this.#warn(`upstream ${upstream} ${reason}`, { upstream, endpoint, expected, reason, detail, shown: name }, 'mtls: an endpoint was not believed');
  }

  #warn(subject: string, fields: object, message: string): void {
    const { clock, logger } = this.dependencies;
    const now = clock.now();
    let allowance = this.#allowances.get(subject);
    if (allowance === undefined) {
      // Subjects come from configuration, which may be exchanged for ever.
      if (this.#allowances.size >= maxSubjects) this.#allowances.clear();
      this.#allowances.set(subject, (allowance = { left: burst, at: now, untold: 0 }));
    }
    allowance.left = Math.min(burst, allowance.left + ((now - allowance.at) / 1_000) * perSecond);
    allowance.at = now;
    if (allowance.left < 1) {
      allowance.untold++;
      return;
    }
    allowance.left--;
    logger.warn({ ...fields, ...(allowance.untold > 0 && { untold: allowance.untold }) }, message);
    allowance.untold = 0;
  }
}

const maxSubjects = 1_000;
