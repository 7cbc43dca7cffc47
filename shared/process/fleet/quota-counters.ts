import { LruMap } from 'toad-cache';
import type { Clock } from '../../clock/clock.js';
import { QuotaWindows, type Counted } from '../../policy/rate-limit/quota-windows.js';
import type { Increment } from './messages.js';

/** Scopes that are remembered; configuration that is exchanged for ever brings ever new ones. */
const maxScopes = 10_000;

/** The quotas of all workers, counted in one place: each key of each scope once. */
export class QuotaCounters {
  readonly #scopes = new LruMap<QuotaWindows>(maxScopes);

  constructor(private readonly clock: Clock) {}

  count(increments: readonly Increment[]): Counted[] {
    return increments.map(({ scope, key, windowMs, maxKeys }) => {
      let windows = this.#scopes.get(scope);
      if (windows === undefined) this.#scopes.set(scope, (windows = new QuotaWindows(this.clock, maxKeys)));
      return windows.count(key, windowMs);
    });
  }
}
