import type { Metric, Registry } from 'prom-client';
import type { NamesInUse } from './names-in-use.js';
import { RetiringSeries } from './retiring-series.js';

/** One combination of labels: plain numbers. */
export class DurationSeries {
  /** Observations by bucket; the last is for those above every bound. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(
    /** What must be in use for it to stay. */
    readonly name: string,
    readonly labels: Readonly<Record<string, string | number>>,
    private readonly bounds: readonly number[],
  ) {
    this.counts = new Float64Array(bounds.length + 1);
  }

  get count(): number {
    return this.counts.reduce((sum, count) => sum + count, 0);
  }

  observe(seconds: number): void {
    const { bounds } = this;
    let bucket = 0;
    while (bucket < bounds.length && seconds > bounds[bucket]!) bucket++;
    this.counts[bucket]!++;
    this.sum += seconds;
  }
}

/**
 * A histogram in a prom-client registry whose series are plain numbers until it is collected: prom-client's own sorts
 * and joins the labels at each observation, also of a bound child, which costs a microsecond a request.
 */
export class DurationHistogram {
  readonly type = 'histogram';
  readonly aggregator = 'sum';
  readonly #series: RetiringSeries<DurationSeries>;

  constructor(
    readonly name: string,
    readonly help: string,
    private readonly bounds: readonly number[],
    registry: Registry,
    { names, onGone }: { readonly names: Pick<NamesInUse, 'has'>; readonly onGone: (name: string) => void },
  ) {
    this.#series = new RetiringSeries(names, onGone);
    // What a registry needs of a metric is `get`; prom-client's types name only its own classes.
    registry.registerMetric(this as unknown as Metric);
  }

  /** `name` is the one among the labels that may go out of use. */
  series(name: string, labels: Readonly<Record<string, string | number>>): DurationSeries {
    return this.#series.add(new DurationSeries(name, labels, this.bounds));
  }

  get(): Promise<unknown> {
    const { name, help, type, aggregator } = this;
    const values = [...this.#series].flatMap((series) => this.#values(series));
    this.#series.look();
    return Promise.resolve({ name, help, type, aggregator, values });
  }

  reset(): void {
    for (const series of this.#series) {
      series.counts.fill(0);
      series.sum = 0;
    }
  }

  #values({ counts, sum, labels }: DurationSeries): { metricName: string; labels: Record<string, string | number>; value: number }[] {
    let total = 0;
    const buckets = Array.from(counts, (count, index) => {
      total += count;
      return { metricName: `${this.name}_bucket`, labels: { le: this.bounds[index] ?? '+Inf', ...labels }, value: total };
    });
    return [...buckets, { metricName: `${this.name}_sum`, labels, value: sum }, { metricName: `${this.name}_count`, labels, value: total }];
  }
}
