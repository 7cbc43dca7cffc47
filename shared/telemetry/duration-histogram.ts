import type { Metric, Registry } from 'prom-client';
import type { NamesInUse } from './names-in-use.js';
import { labelText, type PackedHistogram } from './packed-histogram.js';
import { RetiringSeries } from './retiring-series.js';

/** One combination of labels: plain numbers. */
export class DurationSeries {
  /** Observations by bucket; the last is for those above every bound. */
  readonly counts: Float64Array;
  sum = 0;
  /** Its labels, as they are written. */
  readonly text: string;

  constructor(
    /** What must be in use for it to stay. */
    readonly name: string,
    labels: Readonly<Record<string, string | number>>,
    private readonly bounds: readonly number[],
  ) {
    this.counts = new Float64Array(bounds.length + 1);
    this.text = labelText(labels);
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
 * A histogram in a prom-client registry whose series are plain numbers, also when it is collected: prom-client's own sorts
 * and joins the labels at each observation, also of a bound child, which costs a microsecond a request, and makes nineteen objects of each series for a collection.
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

  /** Without the values that prom-client would write: `exposition` writes it. */
  get(): PackedHistogram {
    const { name, help, type, aggregator, bounds } = this;
    const all = [...this.#series];
    const width = bounds.length + 2;
    const numbers = new Float64Array(all.length * width);
    for (const [row, { counts, sum }] of all.entries()) {
      numbers.set(counts, row * width);
      numbers[(row + 1) * width - 1] = sum;
    }
    this.#series.look();
    return { name, help, type, aggregator, bounds, labels: all.map(({ text }) => text), numbers } as unknown as PackedHistogram;
  }

  reset(): void {
    for (const series of this.#series) {
      series.counts.fill(0);
      series.sum = 0;
    }
  }
}
