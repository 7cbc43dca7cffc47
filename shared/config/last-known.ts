interface Entry {
  value: unknown;
  users: number;
}

/** What was last learned of one thing. */
export interface Known<T> {
  /** Undefined while nothing is known. Plain data: it may be passed between processes. */
  value: T | undefined;
  /** Forgotten when nobody uses it any more. */
  close(): void;
}

/**
 * What was last learned from others than the configuration (endpoints that were found, an issuer's keys), by what was asked: for whoever starts
 * where somebody else was before, in a new version of the configuration or as another worker. It serves until its own source answers, and for as long as that is
 * away.
 */
export class LastKnown {
  readonly #entries = new Map<string, Entry>();

  /** `values`: what others have learned before. */
  constructor(values: Iterable<readonly [name: string, value: unknown]> = []) {
    for (const [name, value] of values) this.#entries.set(name, { value, users: 0 });
  }

  open<T>(name: string): Known<T> {
    let entry = this.#entries.get(name);
    if (entry === undefined) this.#entries.set(name, (entry = { value: undefined, users: 0 }));
    const used = entry;
    used.users++;
    return {
      get value() {
        return used.value as T | undefined;
      },
      set value(value) {
        used.value = value;
      },
      close: () => {
        if (--used.users === 0) this.#entries.delete(name);
      },
    };
  }

  /** What others have learned before and nobody here has asked for is too old for whoever asks later. */
  forgetUnused(): void {
    for (const [name, { users }] of this.#entries) if (users === 0) this.#entries.delete(name);
  }

  /** What is known, for others. */
  all(): [name: string, value: unknown][] {
    return [...this.#entries].filter(([, { value }]) => value !== undefined).map(([name, { value }]) => [name, value]);
  }
}
