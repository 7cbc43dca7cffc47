/**
 * When the clients that are made to wait are looked after: each every 20 ms, as long as that is no more than 20 glances a millisecond for all of a listener, and in
 * turn where there are more. So a client that leaves is seen within 50 ms while 400 wait, and 8,000 are seen within half a second: at 20 ms each they
 * would cost a core.
 */
export class Glances {
  #last = 0;

  /** When the next one is due (clock reading, ms), for a client of which none is outstanding. */
  next(now: number): number {
    this.#last = Math.max(now + intervalMs, this.#last + spacingMs);
    return this.#last;
  }
}

const intervalMs = 20;
/** Between two of them (ms); one takes 2 to 3 µs. */
const spacingMs = 0.05;
