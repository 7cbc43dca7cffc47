import type { NamesInUse } from './names-in-use.js';

interface NamedSeries {
  readonly name: string;
  /** Goes up with each observation. */
  readonly count: number;
}

/** Where nobody collects, each time that this many were added is a look too. */
const addedBetweenLooks = 1_000;

/**
 * Series that are labelled with a name. Those of a name that is not in use any more go together, once they have been collected twice and nothing has been counted in
 * any of them in between: what was in flight when the configuration changed is counted to its end, and a name that comes back before goes on where it was.
 */
export class RetiringSeries<T extends NamedSeries> {
  /** With the count at the last look. */
  readonly #all = new Map<T, number>();
  #added = 0;

  constructor(
    private readonly names: Pick<NamesInUse, 'has'>,
    /** Hears of each name whose series have gone: nothing must be counted there any more. */
    private readonly onGone: (name: string) => void,
  ) {}

  add(series: T): T {
    this.#all.set(series, NaN);
    if (++this.#added % addedBetweenLooks === 0) this.look();
    return series;
  }

  [Symbol.iterator](): IterableIterator<T> {
    return this.#all.keys();
  }

  /** To be called when they have been collected. */
  look(): void {
    const busy = new Set<string>();
    const quiet = new Set<string>();
    for (const [series, before] of this.#all) {
      if (this.names.has(series.name)) continue;
      (series.count === before ? quiet : busy).add(series.name);
      this.#all.set(series, series.count);
    }
    for (const name of busy) quiet.delete(name);
    if (quiet.size === 0) return;
    for (const series of this.#all.keys()) if (quiet.has(series.name)) this.#all.delete(series);
    for (const name of quiet) this.onGone(name);
  }
}
