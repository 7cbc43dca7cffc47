/** Something that a configuration brought to life, and that may have something to close. */
type Part = object & { readonly close?: () => void };

/**
 * The living parts of one version of a configuration.
 *
 * When a new version is applied, parts whose key is unchanged are taken over, with the state they hold:
 * fetched keys, counted quotas, open breakers. What the new version does not take over is closed with the
 * old one. A key is the part's own configuration, and its place where state must not be shared.
 */
export class Generation {
  readonly #parts = new Map<string, Part>();

  #previous: Generation | undefined;

  constructor(previous?: Generation) {
    this.#previous = previous;
  }

  /** The part with this key: from this version, from the one before, or made now. */
  async keep<T extends object>(key: string, make: () => T | Promise<T>): Promise<T> {
    const inherited = this.#previous === undefined ? undefined : this.#previous.#parts.get(key);
    const existing = this.#parts.get(key) ?? inherited;
    const part = existing ?? (await make());
    this.#parts.set(key, part);
    return part as T;
  }

  /**
   * Closes the parts that `successor` does not share; all of them without one. A version that failed to
   * build is retired in favour of the one before it.
   */
  retire(successor?: Generation): void {
    if (successor !== undefined && successor.#previous === this) successor.#previous = undefined;
    for (const [key, part] of this.#parts) {
      if (successor === undefined || successor.#parts.get(key) !== part) part.close?.();
    }
  }
}
