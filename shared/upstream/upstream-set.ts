import { pauses } from '../clock/long-work.js';
import type { UpstreamConfig } from '../config/sections.js';
import { describeUpstream, type UpstreamDescription } from './describe-upstream.js';
import { Upstream, type UpstreamDependencies } from './upstream.js';

export type { UpstreamDescription };

/** The upstreams of one version of the configuration, by name. */
export class UpstreamSet {
  readonly #upstreams = new Map<string, Upstream>();

  private constructor() {}

  /** Takes over from `previous` what is unchanged. Rejects, and leaves nothing open, if one cannot be made: its certificates may be unreadable. */
  static async open(configs: Readonly<Record<string, UpstreamConfig>>, dependencies: UpstreamDependencies, previous?: UpstreamSet): Promise<UpstreamSet> {
    const set = new UpstreamSet();
    const pause = pauses();
    try {
      for (const [name, config] of Object.entries(configs)) {
        set.#upstreams.set(name, new Upstream(name, config, dependencies, previous?.get(name)));
        await pause();
      }
    } catch (error) {
      set.retire(previous);
      throw error;
    }
    return set;
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
