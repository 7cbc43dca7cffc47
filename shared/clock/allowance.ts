import type { Arrival } from '../http/body.js';
import type { Clock, Timer } from './clock.js';

/**
 * What a limit for an answer does not count: the time in which the client was awaited to send the rest of its request. Whoever is slow
 * there, it is not the upstream. Worked out when the limit strikes or is asked for, so that requests that meet no limit pay for none of it.
 */
export class Allowance {
  /** What was awaited before the limit began (ms). */
  readonly #before: number;
  #timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly arrival: Arrival,
    now: number,
  ) {
    this.#before = arrival.awaitedMs(now);
  }

  /** When a limit strikes by what is known now: at `endsAt` if everything counted, at `latest` in any case (clock readings, ms). */
  until(endsAt: number, latest: number, now: number): number {
    return Math.min(latest, endsAt + this.arrival.awaitedMs(now) - this.#before);
  }

  /**
   * Puts off a limit that has struck; `endsAt` and `latest` as above. Returns when it will strike now, having seen to `strike` being called then; undefined where it is to strike at once.
   */
  putOff(endsAt: number, latest: number, strike: () => void): number | undefined {
    const now = this.clock.now();
    const until = this.until(endsAt, latest, now);
    if (until <= now) return undefined;
    // Timers of the system count whole milliseconds.
    this.#timer = this.clock.after(Math.max(1, until - now), strike);
    return until;
  }

  cancel(): void {
    this.#timer?.cancel();
  }
}
