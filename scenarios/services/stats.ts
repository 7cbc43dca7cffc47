/** Requests that a service received, as the application saw them: what a proxy in front refused is not here. */
export class Stats {
  #received = 0;
  #byTag = new Map<string, number>();
  #bySubject = new Map<string, number>();
  #finishedByTag = new Map<string, number>();
  #stoppedByTag = new Map<string, number>();
  #workedMsByTag = new Map<string, number>();

  count(tag: string | undefined, subject: string | undefined): void {
    this.#received++;
    if (tag !== undefined) this.#byTag.set(tag, (this.#byTag.get(tag) ?? 0) + 1);
    if (subject !== undefined) this.#bySubject.set(subject, (this.#bySubject.get(subject) ?? 0) + 1);
  }

  /** Work on a request is over: it was finished, or stopped because nobody waited for it any more. */
  worked(tag: string | undefined, outcome: 'finished' | 'stopped', ms: number): void {
    if (tag === undefined) return;
    const counts = outcome === 'finished' ? this.#finishedByTag : this.#stoppedByTag;
    counts.set(tag, (counts.get(tag) ?? 0) + 1);
    this.#workedMsByTag.set(tag, (this.#workedMsByTag.get(tag) ?? 0) + ms);
  }

  reset(): void {
    this.#received = 0;
    this.#byTag = new Map();
    this.#bySubject = new Map();
    this.#finishedByTag = new Map();
    this.#stoppedByTag = new Map();
    this.#workedMsByTag = new Map();
  }

  toJSON(): StatsDocument {
    return {
      received: this.#received, byTag: Object.fromEntries(this.#byTag), bySubject: Object.fromEntries(this.#bySubject),
      finishedByTag: Object.fromEntries(this.#finishedByTag), stoppedByTag: Object.fromEntries(this.#stoppedByTag), workedMsByTag: Object.fromEntries(this.#workedMsByTag),
    };
  }
}

export interface StatsDocument {
  readonly received: number;
  /** By the `x-lab-tag` field, which the lab's load generator sets to the kind of request. */
  readonly byTag: Readonly<Record<string, number>>;
  /** By the `x-lab-client` field. */
  readonly bySubject: Readonly<Record<string, number>>;
  /** By tag too: requests that were worked on to the end, those whose client was gone before, and the time both took. */
  readonly finishedByTag: Readonly<Record<string, number>>;
  readonly stoppedByTag: Readonly<Record<string, number>>;
  readonly workedMsByTag: Readonly<Record<string, number>>;
}
