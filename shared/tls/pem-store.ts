import { readFileSync } from 'node:fs';
import type { Clock, Timer } from '../clock/clock.js';

/** How often files are looked at for change (ms). Contents are compared: orchestrators exchange secrets by links. */
const pollIntervalMs = 5_000;

/**
 * The certificates and keys of a process, by path, kept up to date.
 *
 * A file that cannot be read any more keeps its last contents, since a certificate that is being exchanged may be gone for a moment.
 */
export class PemStore {
  readonly #clock: Clock;
  readonly #contents = new Map<string, Buffer | undefined>();
  readonly #listeners = new Set<(changed: ReadonlySet<string>) => void>();
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The contents of a file. Throws if it was never readable. */
  read(path: string): Buffer {
    let contents = this.#contents.get(path);
    if (contents === undefined) {
      contents = readFileSync(path);
      this.#keep(path, contents);
    }
    return contents;
  }

  /** Looks after a file that may not be there yet: that it comes is a change. */
  watch(path: string): void {
    if (this.#contents.has(path)) return;
    try {
      this.read(path);
    } catch {
      this.#keep(path, undefined);
    }
  }

  /** Runs `listener` after each change of one of these files or of several at once, until the store is closed or what this returns is called. */
  onChange(paths: readonly string[], listener: () => void): () => void {
    const ofThese = (changed: ReadonlySet<string>): void => {
      if (paths.some((path) => changed.has(path))) listener();
    };
    this.#listeners.add(ofThese);
    return () => this.#listeners.delete(ofThese);
  }

  /** Looks at every file now. */
  refresh(): void {
    const changed = new Set<string>();
    for (const [path, before] of this.#contents) {
      try {
        const contents = readFileSync(path);
        if (before !== undefined && contents.equals(before)) continue;
        this.#contents.set(path, contents);
        changed.add(path);
      } catch {
        // Not there at the moment.
      }
    }
    if (changed.size === 0) return;
    for (const listener of this.#listeners) listener(changed);
  }

  close(): void {
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  #keep(path: string, contents: Buffer | undefined): void {
    this.#contents.set(path, contents);
    this.#timer ??= this.#clock.after(pollIntervalMs, this.#poll);
  }

  readonly #poll = (): void => {
    this.#timer = this.#clock.after(pollIntervalMs, this.#poll);
    this.refresh();
  };
}
