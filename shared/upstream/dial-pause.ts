import type { Clock, Timer } from '../clock/clock.js';

/** How long (ms) a pause is at first and at most. */
const shortestMs = 25;
const longestMs = 1_000;

/** The growing distances at which connections are made to an endpoint that does not take them, while others to it work. */
export class DialPause {
  #lengthMs = 0;
  #timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly onEnd: () => void,
  ) {}

  get isOn(): boolean {
    return this.#timer !== undefined;
  }

  /** There has been one since a connection was last of use: one attempt at a time will do. */
  get isCareful(): boolean {
    return this.#lengthMs > 0;
  }

  begin(): void {
    if (this.#timer !== undefined) return;
    this.#lengthMs = Math.min(longestMs, Math.max(shortestMs, this.#lengthMs * 2));
    this.#timer = this.clock.after(this.#lengthMs, () => {
      this.#timer = undefined;
      this.onEnd();
    });
  }

  /** There is a reason to try at once. */
  end(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#lengthMs = 0;
  }
}
