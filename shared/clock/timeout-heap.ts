import type { Clock, Timer } from './clock.js';

/** Something that runs out of time at a moment of its own. In one heap at a time; `heapIndex` is the heap's. */
export interface HeapEntry {
  /** Place in the heap, or -1. */
  heapIndex: number;
  /** Clock reading (ms). */
  expiresAt: number;
  onExpire(): void;
}

/**
 * Many timeouts of different durations, on one timer: a binary heap by time of expiry.
 *
 * For equal durations a `TimeoutQueue` costs less. Later entries usually expire later, so adding is nearly always a
 * push and one comparison; each entry knows its place, so removing needs no search.
 */
export class TimeoutHeap {
  readonly #clock: Clock;
  readonly #entries: HeapEntry[] = [];
  #timer: Timer | undefined;
  #armedFor = Infinity;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#entries.length;
  }

  /** Calls `entry.onExpire()` at its `expiresAt`, unless it is removed before. */
  add(entry: HeapEntry): void {
    this.#entries.push(entry);
    this.#up(entry, this.#entries.length - 1);
    // A timer that is set too early is left to run: it finds out, and is set again.
    if (entry.expiresAt < this.#armedFor) this.#arm(entry.expiresAt);
  }

  /** Does nothing for an entry that is not in the heap any more. */
  remove(entry: HeapEntry): void {
    const { heapIndex: index } = entry;
    if (index === -1) return;
    entry.heapIndex = -1;
    const last = this.#entries.pop()!;
    if (last === entry) return;
    if (last.expiresAt < entry.expiresAt) this.#up(last, index);
    else this.#down(last, index);
  }

  readonly #expire = (): void => {
    this.#armedFor = Infinity;
    const now = this.#clock.now();
    for (let first = this.#entries[0]; first !== undefined && first.expiresAt <= now; first = this.#entries[0]) {
      this.remove(first);
      first.onExpire();
    }
    const first = this.#entries[0];
    // What expired may have added something, and set the timer.
    if (first !== undefined && first.expiresAt < this.#armedFor) this.#arm(first.expiresAt);
  };

  #arm(at: number): void {
    this.#timer?.cancel();
    this.#armedFor = at;
    // Timers of the system count whole milliseconds and may be a little early.
    this.#timer = this.#clock.after(Math.max(1, at - this.#clock.now()), this.#expire);
  }

  #up(entry: HeapEntry, index: number): void {
    const entries = this.#entries;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = entries[parentIndex]!;
      if (parent.expiresAt <= entry.expiresAt) break;
      entries[index] = parent;
      parent.heapIndex = index;
      index = parentIndex;
    }
    entries[index] = entry;
    entry.heapIndex = index;
  }

  #down(entry: HeapEntry, index: number): void {
    const entries = this.#entries;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= entries.length) break;
      if (childIndex + 1 < entries.length && entries[childIndex + 1]!.expiresAt < entries[childIndex]!.expiresAt) childIndex++;
      const child = entries[childIndex]!;
      if (child.expiresAt >= entry.expiresAt) break;
      entries[index] = child;
      child.heapIndex = index;
      index = childIndex;
    }
    entries[index] = entry;
    entry.heapIndex = index;
  }
}
