import type { UpstreamConfig } from '../config/sections.js';
import { Upstream, type UpstreamDependencies } from './upstream.js';

/** The upstreams of one version of the configuration, by name. */
export class UpstreamSet {
  readonly #upstreams = new Map<string, Upstream>();

  /** Takes over from `previous` what is unchanged. */
  constructor(configs: Readonly<Record<string, UpstreamConfig>>, dependencies: UpstreamDependencies, previous?: UpstreamSet) {
    for (const [name, config] of Object.entries(configs)) {
      this.#upstreams.set(name, new Upstream(name, config, dependencies, previous?.get(name)));
    }
  }

  get(name: string): Upstream | undefined {
    return this.#upstreams.get(name);
  }

  [Symbol.iterator](): IterableIterator<Upstream> {
    return this.#upstreams.values();
  }

  /** Closes what `successor` did not take over; everything without one. Exchanges in flight finish. */
  retire(successor?: UpstreamSet): void {
    for (const upstream of this) upstream.retire(successor?.get(upstream.name));
  }

  /** What the admin server's `/upstreams` shows, at a clock reading. */
  describe(now: number): UpstreamDescription[] {
    return [...this].map((upstream) => ({
      name: upstream.name,
      algorithm: upstream.config.balance.algorithm,
      endpoints: upstream.endpoints.map((endpoint) => ({
        address: endpoint.name,
        healthy: endpoint.health.isHealthy && endpoint.gate.accepts(),
        breaker: endpoint.gate.state(),
        inFlight: endpoint.pool.active,
        pending: endpoint.pool.pending,
        connections: endpoint.pool.size,
        latencyMs: Math.round(endpoint.latency.at(now) * 100) / 100,
      })),
    }));
  }
}

export interface UpstreamDescription {
  readonly name: string;
  readonly algorithm: string;
  readonly endpoints: readonly {
    readonly address: string;
    readonly healthy: boolean;
    readonly breaker: 'closed' | 'open' | 'half-open';
    readonly inFlight: number;
    readonly pending: number;
    readonly connections: number;
    readonly latencyMs: number;
  }[];
}
