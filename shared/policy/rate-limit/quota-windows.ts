import { LruMap } from 'toad-cache';
import type { Clock } from '../../clock/clock.js';

interface Window {
  count: number;
  startedAt: number;
}

export interface Counted {
  /** Requests in the present window, this one included. */
  readonly current: number;
  /** When it ends (ms from now). */
  readonly ttl: number;
}

/** Requests of each key in fixed windows, the least recently used of more than `maxKeys` forgotten. By the monotonic clock: a step of the wall clock would close or open every window. */
export class QuotaWindows {
  readonly #windows: LruMap<Window>;

  constructor(
    private readonly clock: Pick<Clock, 'now'>,
    maxKeys: number,
  ) {
    this.#windows = new LruMap<Window>(maxKeys);
  }

  count(key: string, windowMs: number): Counted {
    const now = this.clock.now();
    let window = this.#windows.get(key);
    if (window === undefined || now - window.startedAt >= windowMs) this.#windows.set(key, (window = { count: 0, startedAt: now }));
    return { current: ++window.count, ttl: windowMs - (now - window.startedAt) };
  }
}
