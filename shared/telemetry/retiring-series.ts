import type { NamesInUse } from './names-in-use.js';

interface NamedSeries {
  readonly name: string;
  /** Goes up with each observation. */
  readonly count: number;
}

/** Where nobody collects, each time that this many were added is a look too. */
const addedBetweenLooks = 1_000;

/**
 * Series that are labelled with a name. Those of a name that is not in use any more go once they have been collected twice and nothing has been counted in
 * between: what was in flight when the configuration changed is counted to its end, and a name that comes back before goes on where it was.
 */
export class RetiringSeries<T extends NamedSeries> {
  /** With the count at the last look. */
  readonly #all = new Map<T, number>();
  #added = 0;

  constructor(
    private readonly names: Pick<NamesInUse, 'has'>,
    /** Hears of each that has gone: nothing must be counted there any more. */
    private readonly onGone: (series: T) => void,
  ) {}

  add(series: T): T {
    if (++this.#added % addedBetweenLooks === 0) this.look();
    this.#all.set(series, NaN);
    return series;
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#all.keys();
  }

  /** To be called when they have been collected. */
  look(): void {
    for (const [series, before] of this.#all) {
      if (this.names.has(series.name)) continue;
      if (series.count !== before) {
        this.#all.set(series, series.count);
        continue;
      }
      this.#all.delete(series);
      this.onGone(series);
    }
  }
}
