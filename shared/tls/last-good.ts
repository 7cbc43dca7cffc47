import type { PemFiles, PemStore } from './pem-store.js';

/** What is made of files that go together (a certificate and its key, authorities, tokens, a set of keys), as they were when they last could be used. */
export class LastGood<T> {
  #value: T;
  readonly #files: PemFiles;

  /** `onReload` hears of each exchange: of its error if the new ones cannot be used, and the old ones stay. Throws if they cannot be used now. */
  constructor(pems: PemStore, paths: readonly string[], load: (files: PemFiles) => T, onReload: (error: Error | undefined) => void) {
    this.#files = pems.open(paths, (lost) => {
      try {
        if (lost !== undefined) throw lost;
        this.#value = load(this.#files);
      } catch (error) {
        // They may be half exchanged.
        onReload(error as Error);
        return;
      }
      onReload(undefined);
    });
    try {
      this.#value = load(this.#files);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  get value(): T {
    return this.#value;
  }

  /** Stays as it is from here on. */
  close(): void {
    this.#files.close();
  }
}
