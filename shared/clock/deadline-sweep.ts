import type { Clock, Timer } from './clock.js';

/** Something that must have moved on by a point in time. */
export interface Sweepable {
  /** Clock reading (ms) at which `onDeadline` is due; `Infinity` for never. Written freely, read by the sweep. */
  deadline: number;
  onDeadline(): void;
}

/**
 * Watches the deadlines of many long-lived things with one timer.
 *
 * A connection moves its deadline with each message and each chunk. Moving it is one assignment, since
 * nothing is sorted: every `resolutionMs` the sweep looks at all of them, which for 10,000 connections
 * takes a fraction of a millisecond. A deadline is noticed up to one resolution late.
 */
export class DeadlineSweep {
  readonly #clock: Clock;
  readonly #resolutionMs: number;
  readonly #watched = new Set<Sweepable>();
  #timer: Timer | undefined;

  /** `timeouts` (ms) are those that will be watched: the resolution is a quarter of the shortest, 5 to 500 ms. */
  constructor(clock: Clock, timeouts: readonly number[]) {
    this.#clock = clock;
    this.#resolutionMs = Math.min(500, Math.max(5, Math.min(...timeouts) / 4));
  }

  add(item: Sweepable): void {
    this.#watched.add(item);
    this.#timer ??= this.#clock.after(this.#resolutionMs, this.#sweep);
  }

  delete(item: Sweepable): void {
    this.#watched.delete(item);
  }

  close(): void {
    this.#watched.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #sweep = (): void => {
    const now = this.#clock.now();
    for (const item of this.#watched) {
      if (item.deadline <= now) {
        item.deadline = Infinity;
        item.onDeadline();
      }
    }
    this.#timer = this.#watched.size === 0 ? undefined : this.#clock.after(this.#resolutionMs, this.#sweep);
  };
}
