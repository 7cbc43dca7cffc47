/** The names of a kind that label series, by how many use each: of one that goes on in a new version of the configuration there are two for a while. */
export class NamesInUse {
  readonly #users = new Map<string, number>();

  /** `onGone` hears of each name that nobody uses any more. */
  constructor(private readonly onGone?: (name: string) => void) {}

  has(name: string): boolean {
    return this.#users.has(name);
  }

  all(): string[] {
    return [...this.#users.keys()];
  }

  /** Returns what ends the use. */
  use(name: string): () => void {
    this.#users.set(name, (this.#users.get(name) ?? 0) + 1);
    let isUsed = true;
    return () => {
      if (!isUsed) return;
      isUsed = false;
      const users = this.#users.get(name)! - 1;
      if (users > 0) {
        this.#users.set(name, users);
        return;
      }
      this.#users.delete(name);
      this.onGone?.(name);
    };
  }
}
