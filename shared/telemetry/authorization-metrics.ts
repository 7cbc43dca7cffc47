import { Counter, type Registry } from 'prom-client';

/** A plain number, which the metric reads when it is collected. */
interface Tally {
  count: number;
}

interface Series {
  readonly labels: { readonly scope: string; readonly decision: string; readonly rule: string };
  readonly tally: Tally;
  /** Versions of a policy that count here. */
  users: number;
}

/**
 * What authorization decided. There are as many series as the rules in force can decide things: a rule that is gone takes its
 * numbers with it, so that configuration that is exchanged for ever does not fill the memory.
 */
export class AuthorizationMetrics {
  readonly #series = new Map<string, Series>();

  constructor(registry: Registry) {
    const all = this.#series;
    new Counter({
      name: 'proxy_authorization_total',
      help: 'Requests and TCP connections by what authorization decided (allowed, denied, would_deny in a dry run) and the rule that did, or default.',
      labelNames: ['scope', 'decision', 'rule'],
      registers: [registry],
      collect() {
        this.reset();
        for (const { labels, tally } of all.values()) this.inc(labels, tally.count);
      },
    });
  }

  /** Counts for one version of the policy of a scope; what is counted goes on in the next version, until `close`. */
  scope(scope: string): { readonly tally: (decision: string, rule: string) => Tally; readonly close: () => void } {
    const used = new Set<string>();
    return {
      tally: (decision, rule) => {
        const key = JSON.stringify([scope, decision, rule]);
        let series = this.#series.get(key);
        if (series === undefined) this.#series.set(key, (series = { labels: { scope, decision, rule }, tally: { count: 0 }, users: 0 }));
        if (!used.has(key)) series.users++;
        used.add(key);
        return series.tally;
      },
      close: () => {
        for (const key of used) if (--this.#series.get(key)!.users === 0) this.#series.delete(key);
        used.clear();
      },
    };
  }
}
