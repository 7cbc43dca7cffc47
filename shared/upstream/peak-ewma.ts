/**
 * Peak exponentially weighted moving average of latency (Finagle; linkerd2-proxy's balancer).
 *
 * A sample above the average replaces it at once, one below pulls it down slowly, with weight
 * `1 - e^(-elapsed / decay)`: an endpoint that turned slow is avoided immediately and trusted again
 * gradually. The average starts at a default, so that a new endpoint is neither flooded nor starved.
 */
export class PeakEwma {
  #average: number;
  #updatedAt: number;

  constructor(
    now: number,
    private readonly decayMs: number = defaultDecayMs,
  ) {
    this.#average = defaultRttMs;
    this.#updatedAt = now;
  }

  observe(sampleMs: number, now: number): void {
    if (sampleMs >= this.#average) {
      this.#average = sampleMs;
    } else {
      const weight = Math.exp(-Math.max(0, now - this.#updatedAt) / this.decayMs);
      this.#average = this.#average * weight + sampleMs * (1 - weight);
    }
    this.#updatedAt = now;
  }

  /** The average in milliseconds. */
  get value(): number {
    return this.#average;
  }
}

/** linkerd2-proxy's defaults (linkerd/app/core/src/config.rs: 30 ms and 10 s). */
const defaultRttMs = 30;
const defaultDecayMs = 10_000;
