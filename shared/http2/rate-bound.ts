/** How often something may happen: a burst at once, and so many a second in the long run. A token bucket. */
export class RateBound {
  #left: number;
  #at: number;

  constructor(
    private readonly burst: number,
    private readonly perSecond: number,
    now: number,
  ) {
    this.#left = burst;
    this.#at = now;
  }

  /** Counts one; `false` when it is one too many. */
  take(now: number): boolean {
    this.#left = Math.min(this.burst, this.#left + ((now - this.#at) / 1_000) * this.perSecond) - 1;
    this.#at = now;
    return this.#left >= 0;
  }
}
