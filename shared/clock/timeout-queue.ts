import type { Clock } from './clock.js';

/** Something that runs out of time. An entry of one queue at a time; the fields are the queue's. */
export interface Expirable {
  next: Expirable | undefined;
  previous: Expirable | undefined;
  expiresAt: number;
  onExpire(): void;
}

/**
 * Many timeouts of one duration, on one timer.
 *
 * Entries of equal duration expire in the order in which they were added, so a doubly linked list
 * is a sorted one: adding and removing are a few pointer writes, and one timer, set for the
 * oldest entry, serves all. A proxy arms and disarms several timeouts for each request; a
 * `setTimeout` for each of them would cost more than routing the request does.
 */
export class TimeoutQueue {
  readonly #clock: Clock;
  readonly durationMs: number;
  #oldest: Expirable | undefined;
  #newest: Expirable | undefined;
  #isArmed = false;

  constructor(clock: Clock, durationMs: number) {
    this.#clock = clock;
    this.durationMs = durationMs;
  }

  /** Calls `entry.onExpire()` after the queue's duration, unless it is removed before. `now` is the clock's reading, for who has it. */
  add(entry: Expirable, now = this.#clock.now()): void {
    entry.expiresAt = now + this.durationMs;
    entry.previous = this.#newest;
    if (this.#newest === undefined) this.#oldest = entry;
    else this.#newest.next = entry;
    this.#newest = entry;
    this.#arm(this.durationMs);
  }

  /** Does nothing for an entry that is not in the queue any more. */
  remove(entry: Expirable): void {
    const { previous, next } = entry;
    if (previous === undefined && this.#oldest !== entry) return;
    if (previous === undefined) this.#oldest = next;
    else previous.next = next;
    if (next === undefined) this.#newest = previous;
    else next.previous = previous;
    entry.previous = undefined;
    entry.next = undefined;
  }

  readonly #expire = (): void => {
    this.#isArmed = false;
    const now = this.#clock.now();
    for (let due = this.#oldest; due !== undefined && due.expiresAt <= now; due = this.#oldest) {
      this.remove(due);
      due.onExpire();
    }
    // Left running when the list is empty it would cost a wake-up; the next `add` sets it again.
    if (this.#oldest !== undefined) this.#arm(Math.max(1, this.#oldest.expiresAt - now));
  };

  #arm(delayMs: number): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    this.#clock.after(delayMs, this.#expire);
  }
}
