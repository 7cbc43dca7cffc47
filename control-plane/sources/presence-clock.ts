import type { Clock, Timer } from '../../shared/clock/clock.js';

/**
 * Time in which this process was there.
 *
 * A lease is a promise to call again in time, and nobody can keep it towards a process that is stopped, swapped out or busy. So time
 * here goes on by what the monotonic clock says (the wall's may jump), but by no more than `longestStepMs` between two beats: what is
 * beyond was spent elsewhere, and counts for nobody. Beats only while it runs.
 */
export class PresenceClock {
  #time = 0;
  #beatAt = 0;
  #timer: Timer | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly beatMs: number,
    private readonly longestStepMs: number,
    private readonly onBeat: () => void,
  ) {}

  now(): number {
    return this.#timer === undefined ? this.#time : this.#time + Math.min(this.clock.now() - this.#beatAt, this.longestStepMs);
  }

  start(): void {
    if (this.#timer !== undefined) return;
    this.#beatAt = this.clock.now();
    this.#timer = this.clock.after(this.beatMs, this.#beat);
  }

  stop(): void {
    this.#time = this.now();
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  readonly #beat = (): void => {
    this.#time = this.now();
    this.#beatAt = this.clock.now();
    this.#timer = this.clock.after(this.beatMs, this.#beat);
    this.onBeat();
  };
}
