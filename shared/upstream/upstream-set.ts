import type { UpstreamConfig } from '../config/sections.js';
import { describeUpstream, type UpstreamDescription } from './describe-upstream.js';
import { Upstream, type UpstreamDependencies } from './upstream.js';

export type { UpstreamDescription };

/** The upstreams of one version of the configuration, by name. */
export class UpstreamSet {
  readonly #upstreams = new Map<string, Upstream>();

  /** Takes over from `previous` what is unchanged. */
  constructor(configs: Readonly<Record<string, UpstreamConfig>>, dependencies: UpstreamDependencies, previous?: UpstreamSet) {
    try {
      for (const [name, config] of Object.entries(configs)) {
        this.#upstreams.set(name, new Upstream(name, config, dependencies, previous?.get(name)));
      }
    } catch (error) {
      this.retire(previous);
      throw error;
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
    return [...this].map((upstream) => describeUpstream(upstream, now));
  }
}
