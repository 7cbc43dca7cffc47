/**
 * Peak exponentially weighted moving average of latency (Finagle; linkerd2-proxy's balancer).
 *
 * A sample above the average replaces it at once, one below pulls it down slowly, with weight
 * `1 - e^(-elapsed / decay)`: an endpoint that turned slow is avoided immediately and trusted again
 * gradually. Without samples the average decays towards zero, so that an endpoint which is never chosen because it
 * was slow is chosen again one day. While it owes answers only that silence counts, and not the one before: else an endpoint that
 * hangs after a quiet minute would look faster than any that answers.
 */
export class PeakEwma {
  #average = 0;
  #updatedAt = 0;
  #isKnown = false;
  /** Requests without an answer so far, and since when there have been some. */
  #owed = 0;
  #owedSince = 0;

  /** `decayMs`: the time in which the past loses two thirds of its weight. */
  constructor(private readonly decayMs: number = defaultDecayMs) {}

  /** Whether there ever was a sample. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** A request is sent. */
  began(now: number): void {
    if (this.#owed++ === 0) this.#owedSince = now;
  }

  /** It has an answer, or will have none. */
  ended(): void {
    this.#owed--;
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

  /** A failure, an answer or none, counts as at least twice the usual latency, so that failing fast does not look like being fast. */
  observeFailure(elapsedMs: number, now: number): void {
    this.observe(Math.min(maxFailurePenaltyMs, Math.max(elapsedMs, (this.#isKnown ? this.#average : unknownLatencyMs) * 2, 1)), now);
  }

  /** One that was given up would have taken longer: less than the usual latency says nothing. It weighs no more than a failure. */
  observeAtLeast(elapsedMs: number, now: number): void {
    if (elapsedMs > (this.#isKnown ? this.at(now) : unknownLatencyMs)) this.observe(Math.min(maxFailurePenaltyMs, elapsedMs), now);
  }

  /** The average in milliseconds, as it stands at `now`. */
  at(now: number): number {
    const silentSince = this.#owed > 0 ? Math.max(this.#updatedAt, this.#owedSince) : this.#updatedAt;
    return this.#average * Math.exp(-Math.max(0, now - silentSince) / this.decayMs);
  }

  /** Forgets everything: the endpoint is another one now. */
  reset(): void {
    this.#isKnown = false;
    this.#average = 0;
  }
}

/** What an endpoint is taken to need while nothing is known of it (ms; linkerd2-proxy's default). */
export const unknownLatencyMs = 30;
/** linkerd2-proxy's default. */
const defaultDecayMs = 10_000;
const maxFailurePenaltyMs = 1_000;
