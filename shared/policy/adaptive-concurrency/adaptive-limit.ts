import type { AdaptiveConcurrencyConfig } from '../../config/resilience.js';

/** What became of a request, as far as the limit learns from it. */
export type Lesson = 'answered' | 'timed-out' | 'nothing';

/** The shortest latency (ms): none is no time, and what would be is a rounding error. */
const minLatencyMs = 0.001;
const minSamples = 10;
const maxSamples = 256;
/** The least that one window leaves of the limit: an outlier must not shed half the load for long. */
const minGradient = 0.5;
/** How fast the baseline follows latency that rises without load (ms): the time in which it forgets two thirds. */
const riseMs = 10_000;
/** How much of the way down it goes in one window: a faster answer proves what the service can do. */
const fall = 0.2;
const remeasureSamples = 50;
const remeasureMaxMs = 1_000;
/** Windows in a row at the bottom, after which the baseline is doubted. */
const doubtfulWindows = 5;

/**
 * How many requests a service can work on at a time, found out from its latency.
 *
 * By Little's law a service that is not queueing answers L requests at a time in its own time; those beyond it wait, and
 * answers get slower. So, in each window of `window` (and at least ten answers, and two answers' time, so that the effect of
 * the last change is seen before the next):
 *
 *     gradient = clamp(tolerance × baseline / latency, 0.5, 1)
 *     limit    = limit × gradient + √limit
 *
 * `latency` is the median of the window, `baseline` the latency without load. While answers are not slower than `tolerance`
 * times the baseline, the limit grows by its square root, the queue that is allowed; when they are, it shrinks in proportion.
 * It does not grow when it was not used. This is the gradient of Netflix' concurrency-limits (Gradient2Limit, and its
 * square-root queue) and of Envoy's adaptive concurrency filter, which both call the limit's update the same way and differ
 * in the baseline:
 *
 * - Netflix' is a long average of the same latency. Under lasting overload it rises after the latency that it should judge.
 * - Envoy's is measured: every minute the limit goes down to 3 for 50 requests. That costs requests also when nobody is overloaded.
 *
 * Here the long average learns upwards only from windows in which less than half of the limit was in use, and downwards from
 * all. Only where a service is under load without a break, `remeasureInterval` long, or the limit has come down to the bottom
 * and does not recover, the limit goes down to `minLimit` for a moment, and what began and ended in it is the new baseline.
 *
 * Pure arithmetic on clock readings: it has no timer, and is as old as its last request.
 */
export class AdaptiveLimit {
  inFlight = 0;
  #limit: number;
  /** Latency without load (ms); undefined until there was a window. */
  #baseline: number | undefined;
  readonly #samples = new Float64Array(maxSamples);
  #sampleCount = 0;
  #windowStart: number;
  #windowEnd: number;
  /** Most in flight in this window; `Infinity` when something was shed. */
  #peak = 0;
  #remeasureAt: number;
  #remeasure: { readonly since: number; readonly limit: number } | undefined;
  #lastRemeasured = -Infinity;
  #doubtful = 0;

  constructor(
    private readonly config: AdaptiveConcurrencyConfig,
    private readonly random: () => number,
    now: number,
  ) {
    this.#limit = config.initialLimit;
    this.#windowStart = now;
    this.#windowEnd = now + config.window;
    // Nothing was ever measured: the first window under load is followed by a measurement.
    this.#remeasureAt = now;
  }

  /** Requests at a time, now. */
  get limit(): number {
    return this.#remeasure === undefined ? Math.floor(this.#limit) : this.config.minLimit;
  }

  get baselineMs(): number | undefined {
    return this.#baseline;
  }

  /** Takes a place, if `share` of the limit has a free one; `leave` gives it back. */
  tryEnter(share: number, now: number): boolean {
    // Those that hold its few places may be in no hurry to leave: then nobody else would end it.
    if (this.#remeasure !== undefined && this.#isRemeasured(now)) this.#turn(now);
    if (this.inFlight >= this.limit * share) {
      this.#peak = Infinity;
      return false;
    }
    this.inFlight++;
    if (this.inFlight > this.#peak) this.#peak = this.inFlight;
    return true;
  }

  /** `awaitedMs`: what of the time was not the service's. */
  leave(startedAt: number, now: number, lesson: Lesson, awaitedMs = 0): void {
    this.inFlight--;
    const latency = Math.max(minLatencyMs, now - startedAt - awaitedMs);
    // A request that was given up would have taken longer: less than the usual time says nothing.
    if (lesson === 'answered' || (lesson === 'timed-out' && latency > (this.#baseline ?? 0))) this.#learn(startedAt, latency);
    if (this.#remeasure === undefined ? now >= this.#windowEnd && this.#sampleCount >= minSamples : this.#isRemeasured(now)) this.#turn(now);
  }

  #learn(startedAt: number, latency: number): void {
    if (this.#sampleCount === maxSamples) return;
    // What began under the old limit met the old queue.
    if (this.#remeasure !== undefined && startedAt < this.#remeasure.since) return;
    this.#samples[this.#sampleCount++] = latency;
  }

  #isRemeasured(now: number): boolean {
    return this.#sampleCount >= remeasureSamples || now >= this.#remeasure!.since + remeasureMaxMs;
  }

  /** Ends a window. */
  #turn(now: number): void {
    const latency = this.#sampleCount === 0 ? (this.#baseline ?? 0) : median(this.#samples.subarray(0, this.#sampleCount));
    if (this.#remeasure !== undefined) this.#endRemeasuring(latency, now);
    else this.#update(latency, now);
    this.#sampleCount = 0;
    this.#peak = this.inFlight;
    this.#windowStart = now;
    this.#windowEnd = now + Math.max(this.config.window, 2 * latency);
  }

  #update(latency: number, now: number): void {
    const { tolerance, minLimit, maxLimit } = this.config;
    const isLoaded = this.#peak * 2 >= this.#limit;
    const baseline = (this.#baseline = this.#nextBaseline(latency, isLoaded, now));
    if (!isLoaded) {
      this.#doubtful = 0;
      this.#remeasureAt = this.#nextRemeasuring(now);
      return;
    }
    const gradient = Math.min(1, Math.max(minGradient, (tolerance * baseline) / latency));
    this.#limit = Math.min(maxLimit, Math.max(minLimit, this.#limit * gradient + Math.sqrt(this.#limit)));
    this.#doubtful = gradient < 1 && this.#limit <= 2 * minLimit ? this.#doubtful + 1 : 0;
    const isDoubtful = this.#doubtful >= doubtfulWindows && now >= this.#lastRemeasured + this.config.remeasureInterval / 10;
    if (now < this.#remeasureAt && !isDoubtful) return;
    this.#remeasure = { since: now, limit: this.#limit };
  }

  #nextBaseline(latency: number, isLoaded: boolean, now: number): number {
    const baseline = this.#baseline;
    if (baseline === undefined) return latency;
    if (latency < baseline) return baseline + (latency - baseline) * fall;
    if (isLoaded) return baseline;
    return baseline + (latency - baseline) * (1 - Math.exp((this.#windowStart - now) / riseMs));
  }

  #endRemeasuring(latency: number, now: number): void {
    this.#baseline = latency;
    this.#limit = this.#remeasure!.limit;
    this.#remeasure = undefined;
    this.#doubtful = 0;
    this.#lastRemeasured = now;
    this.#remeasureAt = this.#nextRemeasuring(now);
  }

  /** A little at random, or all proxies in front of a service would measure it at once. */
  #nextRemeasuring(now: number): number {
    return now + this.config.remeasureInterval * (1 + 0.1 * this.random());
  }
}

/** Sorts what it is given. */
function median(samples: Float64Array): number {
  samples.sort();
  return samples[samples.length >> 1]!;
}
