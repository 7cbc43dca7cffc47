/** Buckets grow by this factor: an estimate is at most so much too high. */
const growth = 1.05;
const smallestMs = 0.05;
const bucketCount = 290; // up to 60 s
const logGrowth = Math.log(growth);

const recomputeEveryMs = 1_000;
/** Each recomputation forgets this share, which makes a half-life of ten seconds ... */
const kept = 0.5 ** 0.1;
/** ... but not below this many samples: where requests are rare the past is better than nothing. */
const keptSamples = 200;
/** With fewer there is no estimate. */
const minSamples = 100;

/**
 * A quantile of recent durations.
 *
 * Samples are counted in buckets that grow geometrically, as in HDR histograms, so recording is one logarithm. Once a
 * second, not with each request, the quantile is looked up and the counts are scaled down, so that the past
 * fades instead of ending with an interval.
 */
export class RollingQuantile {
  readonly #counts = new Float64Array(bucketCount);
  #total = 0;
  #recomputeAt = -Infinity;
  /** The estimate (ms), or undefined while there are too few samples. */
  value: number | undefined;

  /** `quantile`: 0.95, say. */
  constructor(private readonly quantile: number) {}

  observe(ms: number, now: number): void {
    const bucket = ms <= smallestMs ? 0 : Math.min(bucketCount - 1, Math.ceil(Math.log(ms / smallestMs) / logGrowth));
    this.#counts[bucket]!++;
    this.#total++;
    if (now >= this.#recomputeAt) this.#recompute(now);
  }

  #recompute(now: number): void {
    this.#recomputeAt = now + recomputeEveryMs;
    // The first request finds nothing to look up.
    if (this.#total < minSamples) return;
    let rest = this.#total * this.quantile;
    let bucket = 0;
    while (bucket < bucketCount - 1 && (rest -= this.#counts[bucket]!) > 0) bucket++;
    this.value = smallestMs * growth ** bucket;
    if (this.#total <= keptSamples) return;
    const scale = Math.max(kept, keptSamples / this.#total);
    this.#total = 0;
    for (let index = 0; index < bucketCount; index++) this.#total += this.#counts[index]! *= scale;
  }
}
