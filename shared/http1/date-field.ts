import type { Clock } from '../clock/clock.js';

/** The field line of the time, for answers that come without one (RFC 9110 section 6.6.1): made once a second. */
export class DateField {
  #second = 0;
  #line = '';

  constructor(private readonly clock: Clock) {}

  get line(): string {
    const second = Math.floor(this.clock.wallNow() / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#line = `Date: ${new Date(second * 1_000).toUTCString()}\r\n`;
    }
    return this.#line;
  }
}
