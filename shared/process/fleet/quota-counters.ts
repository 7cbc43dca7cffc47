import { LruMap } from 'toad-cache';
import type { Clock } from '../../clock/clock.js';
import type { Counted, Increment } from './messages.js';

/** Scopes that are remembered; configuration that is exchanged for ever brings ever new ones. */
const maxScopes = 10_000;

interface Window {
  count: number;
  startedAt: number;
}

/** The quotas of all workers, in fixed windows, counted in one place: each key of each scope once. */
export class QuotaCounters {
  readonly #scopes = new LruMap<LruMap<Window>>(maxScopes);

  constructor(private readonly clock: Clock) {}

  count(increments: readonly Increment[]): Counted[] {
    const now = this.clock.now();
    return increments.map((increment) => this.#count(increment, now));
  }

  #count({ scope, key, windowMs, maxKeys }: Increment, now: number): Counted {
    let windows = this.#scopes.get(scope);
    if (windows === undefined) this.#scopes.set(scope, (windows = new LruMap<Window>(maxKeys)));
    let window = windows.get(key);
    if (window === undefined || now - window.startedAt >= windowMs) windows.set(key, (window = { count: 0, startedAt: now }));
    window.count++;
    return { current: window.count, ttl: windowMs - (now - window.startedAt) };
  }
}
