import type { Clock, Timer } from './clock.js';

interface Scheduled {
  readonly at: number;
  readonly callback: () => void;
}

/** A clock for tests: it stands still until `advance` turns it. */
export class FakeClock implements Clock {
  #now: number;
  readonly #wallOffset: number;
  #scheduled: Scheduled[] = [];

  constructor({ now = 0, wall = Date.UTC(2026, 0, 1) } = {}) {
    this.#now = now;
    this.#wallOffset = wall - now;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#now + this.#wallOffset;
  }

  after(delayMs: number, callback: () => void): Timer {
    const entry = { at: this.#now + Math.max(0, delayMs), callback };
    this.#scheduled.push(entry);
    return {
      cancel: () => {
        this.#scheduled = this.#scheduled.filter((other) => other !== entry);
      },
    };
  }

  /** How many timers are waiting; zero at the end of a test shows that none leaked. */
  get pending(): number {
    return this.#scheduled.length;
  }

  /** Moves time on, runs what falls due in order, and lets promise reactions run after each. */
  async advance(ms: number): Promise<void> {
    const until = this.#now + ms;
    await settle();
    for (;;) {
      const next = this.#scheduled
        .filter((entry) => entry.at <= until)
        .reduce<Scheduled | undefined>((a, b) => (a === undefined || b.at < a.at ? b : a), undefined);
      if (next === undefined) break;
      this.#scheduled = this.#scheduled.filter((entry) => entry !== next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
      await settle();
    }
    this.#now = until;
  }
}

/** Lets every promise reaction that is already due run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
