/** Requests that a service received, as the application saw them: what a proxy in front refused is not here. */
export class Stats {
  #received = 0;
  #byTag = new Map<string, number>();
  #bySubject = new Map<string, number>();

  count(tag: string | undefined, subject: string | undefined): void {
    this.#received++;
    if (tag !== undefined) this.#byTag.set(tag, (this.#byTag.get(tag) ?? 0) + 1);
    if (subject !== undefined) this.#bySubject.set(subject, (this.#bySubject.get(subject) ?? 0) + 1);
  }

  reset(): void {
    this.#received = 0;
    this.#byTag = new Map();
    this.#bySubject = new Map();
  }

  toJSON(): StatsDocument {
    return { received: this.#received, byTag: Object.fromEntries(this.#byTag), bySubject: Object.fromEntries(this.#bySubject) };
  }
}

export interface StatsDocument {
  readonly received: number;
  /** By the `x-lab-tag` field, which the lab's load generator sets to the kind of request. */
  readonly byTag: Readonly<Record<string, number>>;
  /** By the `x-lab-client` field. */
  readonly bySubject: Readonly<Record<string, number>>;
}
