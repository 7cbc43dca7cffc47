/**
 * Peak exponentially weighted moving average of latency (Finagle; linkerd2-proxy's balancer).
 *
 * A sample above the average replaces it at once, one below pulls it down slowly, with weight
 * `1 - e^(-elapsed / decay)`: an endpoint that turned slow is avoided immediately and trusted again
 * gradually. Without samples the average decays towards zero, so that an endpoint which is never chosen because it
 * was slow is chosen again one day.
 */
export class PeakEwma {
  #average = 0;
  #updatedAt = 0;
  #isKnown = false;

  /** `decayMs`: the time in which the past loses two thirds of its weight. */
  constructor(private readonly decayMs: number = defaultDecayMs) {}

  /** Whether there ever was a sample. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  observe(sampleMs: number, now: number): void {
    if (!this.#isKnown || sampleMs >= this.#average) {
      this.#average = sampleMs;
    } else {
      const weight = Math.exp(-Math.max(0, now - this.#updatedAt) / this.decayMs);
      this.#average = this.#average * weight + sampleMs * (1 - weight);
    }
    this.#isKnown = true;
    this.#updatedAt = now;
  }

  /** A failed attempt counts as at least twice the usual latency, so that failing fast does not look like being fast. */
  observeFailure(elapsedMs: number, now: number): void {
    this.observe(Math.min(maxFailurePenaltyMs, Math.max(elapsedMs, this.#average * 2, 1)), now);
  }

  /** The average in milliseconds, as it stands at `now`. */
  at(now: number): number {
    return this.#average * Math.exp(-Math.max(0, now - this.#updatedAt) / this.decayMs);
  }

  /** Forgets everything: the endpoint is another one now. */
  reset(): void {
    this.#isKnown = false;
    this.#average = 0;
  }
}

/** linkerd2-proxy's default. */
const defaultDecayMs = 10_000;
const maxFailurePenaltyMs = 1_000;
