import type { Clock, Timer } from './clock.js';

/**
 * Many timeouts of one duration, on one timer.
 *
 * Entries of equal duration expire in the order in which they were added, so a doubly linked list
 * is a sorted one: adding and cancelling are a few pointer writes, and one timer, set for the
 * oldest entry, serves all. A proxy arms and disarms several timeouts for each request; a
 * `setTimeout` for each of them would cost more than routing the request does.
 */
export class TimeoutQueue {
  readonly #clock: Clock;
  readonly durationMs: number;
  readonly #head: Entry;
  #timer: Timer | undefined;

  constructor(clock: Clock, durationMs: number) {
    this.#clock = clock;
    this.durationMs = durationMs;
    this.#head = new Entry(() => {}, 0);
    this.#head.next = this.#head;
    this.#head.previous = this.#head;
  }

  /** Runs `callback` once after the queue's duration. Cancel is idempotent, also after it ran. */
  add(callback: () => void): Timer {
    const entry = new Entry(callback, this.#clock.now() + this.durationMs);
    const last = this.#head.previous;
    entry.previous = last;
    entry.next = this.#head;
    last.next = entry;
    this.#head.previous = entry;
    this.#timer ??= this.#clock.after(this.durationMs, this.#expire);
    return entry;
  }

  /** Drops every entry without running it. */
  clear(): void {
    while (this.#head.next !== this.#head) this.#head.next.cancel();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #expire = (): void => {
    this.#timer = undefined;
    const now = this.#clock.now();
    while (this.#head.next !== this.#head && this.#head.next.at <= now) {
      const due = this.#head.next;
      due.cancel();
      due.callback();
    }
    const oldest = this.#head.next;
    // Left running when the list is empty it would cost a wake-up; the next `add` sets it again.
    if (oldest !== this.#head) this.#timer ??= this.#clock.after(Math.max(1, oldest.at - now), this.#expire);
  };
}

class Entry implements Timer {
  next: Entry = this;
  previous: Entry = this;
  constructor(
    readonly callback: () => void,
    readonly at: number,
  ) {}

  cancel(): void {
    this.previous.next = this.next;
    this.next.previous = this.previous;
    this.next = this;
    this.previous = this;
  }
}
