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
 * takes a fraction of a millisecond, or sooner when one is nearer. A deadline that was set to come before the next look
 * is noticed up to one resolution late, unless `soon` was called for it.
 */
export class DeadlineSweep {
  readonly #clock: Clock;
  #resolutionMs = coarsestMs;
  /** Between two looks, however many deadlines are near (ms). */
  #pauseMs = coarsestPauseMs;
  readonly #watched = new Set<Sweepable>();
  #timer: Timer | undefined;
  /** Clock reading (ms) at which the timer ends. */
  #nextAt = Infinity;
  /** Something is known to be due then. */
  #isExpected = false;

  /** `timeouts` (ms) are those that will be watched: the resolution is a quarter of the shortest, 5 to 500 ms. */
  constructor(clock: Clock, timeouts: readonly number[]) {
    this.#clock = clock;
    this.expect(timeouts);
  }

  /** Timeouts (ms; infinite is none) of what will be watched from now on. A sweep that looks more often than it must wakes an idle process for nothing. */
  expect(timeouts: readonly number[]): void {
    this.#resolutionMs = Math.min(this.#resolutionMs, Math.max(finestMs, Math.min(...timeouts) / 4));
    this.#pauseMs = Math.min(coarsestPauseMs, this.#resolutionMs);
    this.soon(this.#clock.now() + this.#resolutionMs);
  }

  add(item: Sweepable): void {
    this.#watched.add(item);
    const at = this.#clock.now() + this.#resolutionMs;
    if (at < this.#nextAt) this.#lookAt(at, false);
  }

  /** Looks at `at` (clock reading, ms) at the latest, for a deadline nearer than the timeouts that the sweep was made for. It costs a timer. */
  soon(at: number): void {
    if (this.#watched.size > 0 && at < this.#nextAt) this.#lookAt(at, true);
  }

  delete(item: Sweepable): void {
    this.#watched.delete(item);
  }

  close(): void {
    this.#watched.clear();
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#nextAt = Infinity;
  }

  readonly #sweep = (): void => {
    const now = this.#clock.now();
    // A timer counts from when the event loop last looked at the time, and so may end before its time. Where nothing is due yet, that is as good a time.
    if (now < this.#nextAt && this.#isExpected) {
      this.#lookAt(this.#nextAt, true);
      return;
    }
    this.#nextAt = Infinity;
    let nearest = Infinity;
    for (const item of this.#watched) {
      if (item.deadline <= now) {
        item.deadline = Infinity;
        item.onDeadline();
      }
      if (item.deadline < nearest) nearest = item.deadline;
    }
    const at = Math.max(now + this.#pauseMs, Math.min(now + this.#resolutionMs, nearest));
    // One of those just told may have asked for a nearer look already.
    if (this.#watched.size > 0 && at < this.#nextAt) this.#lookAt(at, nearest <= now + this.#resolutionMs);
  };

  #lookAt(at: number, isExpected: boolean): void {
    this.#timer?.cancel();
    this.#nextAt = at;
    this.#isExpected = isExpected;
    this.#timer = this.#clock.after(Math.max(1, Math.ceil(at - this.#clock.now())), this.#sweep);
  }
}

const finestMs = 5;
const coarsestMs = 500;
const coarsestPauseMs = 10;
