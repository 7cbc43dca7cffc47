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
  /** Goes up with each change. */
  version = 0;
  readonly #clock: Clock;
  readonly #contents = new Map<string, Buffer>();
  readonly #listeners = new Set<() => void>();
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** The contents of a file. Throws if it was never readable. */
  read(path: string): Buffer {
    let contents = this.#contents.get(path);
    if (contents === undefined) {
      contents = readFileSync(path);
      this.#contents.set(path, contents);
      this.#timer ??= this.#clock.after(pollIntervalMs, this.#poll);
    }
    return contents;
  }

  /** Runs `listener` after each change, until the store is closed. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Looks at every file now. */
  refresh(): void {
    let changed = false;
    for (const [path, before] of this.#contents) {
      try {
        const contents = readFileSync(path);
        if (contents.equals(before)) continue;
        this.#contents.set(path, contents);
        changed = true;
      } catch {
        // Not there at the moment.
      }
    }
    if (!changed) return;
    this.version++;
    for (const listener of this.#listeners) listener();
  }

  close(): void {
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  readonly #poll = (): void => {
    this.#timer = this.#clock.after(pollIntervalMs, this.#poll);
    this.refresh();
  };
}
