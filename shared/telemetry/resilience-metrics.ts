import { Counter, Gauge, type Registry } from 'prom-client';
import type { Scope } from '../policy/scope.js';

/** A limit of requests at a time, as it stands. */
interface ConcurrencyLimit {
  readonly limit: number;
  readonly inFlight: number;
}

/** What hedging and adaptive limits count, in a proxy's registry. */
export class ResilienceMetrics {
  /** By the key of their scope; those of one name are shown together. */
  readonly #limits = new Map<string, { readonly name: string; readonly limit: ConcurrencyLimit }>();
  readonly #hedges: Counter;
  readonly #shed: Counter;

  constructor(registry: Registry) {
    const registers = [registry];
    const limits = this.#limits;
    const gauge = (name: string, help: string, key: keyof ConcurrencyLimit): Gauge =>
      new Gauge({ name, help, labelNames: ['scope'], registers, collect() { this.reset(); for (const { name: scope, limit } of limits.values()) this.inc({ scope }, limit[key]); } });
    gauge('proxy_concurrency_limit', 'Requests at a time that the service was found to be able to take.', 'limit');
    gauge('proxy_concurrency_in_flight', 'Requests at a time that count against the limit.', 'inFlight');
    this.#shed = new Counter({ name: 'proxy_shed_total', help: 'Requests refused because of the adaptive limit.', labelNames: ['scope', 'priority'], registers });
    this.#hedges = new Counter({ name: 'proxy_hedges_total', help: 'Requests that were hedged, by whether the hedge won, and hedges that the budget refused or that were turned away here.', labelNames: ['upstream', 'outcome'], registers });
  }

  hedge(upstream: string, outcome: 'won' | 'lost' | 'budget_exhausted' | 'turned_away'): void {
    this.#hedges.inc({ upstream, outcome });
  }

  shed(scope: string, priority: string): void {
    this.#shed.inc({ scope, priority });
  }

  /** Shows a limit until the returned function is called, or another takes its scope. */
  watch({ name, key }: Scope, limit: ConcurrencyLimit): () => void {
    this.#limits.set(key, { name, limit });
    return () => {
      if (this.#limits.get(key)?.limit === limit) this.#limits.delete(key);
    };
  }
}
