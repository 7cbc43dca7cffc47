/** Time before a body's average rate is looked at (ms; Kestrel's default, as is the rate). */
const graceMs = 5_000;

/** How fast a body arrives: from its beginning, without the time in which we did not want any of it. */
export class BodyPace {
  #startedAt: number;
  #pausedAt: number | undefined;

  constructor(
    /** Bytes a second; 0: any. */
    private readonly minRate: number,
    now: number,
  ) {
    this.#startedAt = now;
  }

  /** A client that we made wait is not the one that is late. */
  get isPaused(): boolean {
    return this.#pausedAt !== undefined;
  }

  pause(now: number): void {
    this.#pausedAt ??= now;
  }

  resume(now: number): void {
    if (this.#pausedAt !== undefined) this.#startedAt += now - this.#pausedAt;
    this.#pausedAt = undefined;
  }

  isTooSlow(bytes: number, now: number): boolean {
    const elapsed = (this.#pausedAt ?? now) - this.#startedAt;
    return elapsed > graceMs && bytes < (elapsed / 1_000) * this.minRate;
  }
}
