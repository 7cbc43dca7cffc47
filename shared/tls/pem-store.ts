import type { Clock, Timer } from '../clock/clock.js';
import { readFileBounded, readFileBoundedSync } from '../files/read-file.js';

/** How often files are looked at for change (ms). Contents are compared: orchestrators exchange secrets by links. */
const pollIntervalMs = 5_000;

/** Files that somebody reads. They are looked at for change until they are closed. */
export interface PemFiles {
  /** The contents of one of them. Throws while it has never been readable. */
  read(path: string): Buffer;
  close(): void;
}

interface File {
  /** Undefined until it can be read. */
  contents: Buffer | undefined;
  readers: number;
}

/**
 * The certificates and keys of a process, by path, kept up to date for as long as somebody reads them.
 *
 * A file that cannot be read any more keeps its last contents, since a certificate that is being exchanged may be gone for a moment. Looks never
 * overlap and do not block the process, however slow the volume is; they read one file after the other, so that one that hangs takes a single
 * thread of those that look up names too.
 */
export class PemStore {
  readonly #clock: Clock;
  readonly #readFile: (path: string) => Promise<Buffer>;
  readonly #files = new Map<string, File>();
  readonly #listeners = new Set<(changed: ReadonlySet<string>) => void>();
  #looks: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(clock: Clock, read: (path: string) => Promise<Buffer> = readFileBounded) {
    this.#clock = clock;
    this.#readFile = read;
  }

  /** They need not be there yet: that one comes is a change. `onChange` runs after each change of one of them, or of several at once. */
  open(paths: readonly string[], onChange?: () => void): PemFiles {
    const own = new Set(paths);
    for (const path of own) this.#acquire(path);
    const listener = (changed: ReadonlySet<string>): void => {
      if (paths.some((path) => changed.has(path))) onChange!();
    };
    if (onChange !== undefined) this.#listeners.add(listener);
    return {
      // What comes between two looks is found by the next, so that all who read it hear of it.
      read: (path) => this.#files.get(path)?.contents ?? readFileBoundedSync(path),
      close: () => {
        this.#listeners.delete(listener);
        for (const path of own) this.#release(path);
        own.clear();
      },
    };
  }

  /** Looks at every file now. Resolves when who is concerned has heard of what has changed. */
  refresh(): Promise<void> {
    return (this.#looks = this.#looks.then(() => this.#look()));
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  #acquire(path: string): void {
    const known = this.#files.get(path);
    if (known !== undefined) {
      known.readers++;
      return;
    }
    let contents: Buffer | undefined;
    try {
      contents = readFileBoundedSync(path);
    } catch {
      // Not there yet.
    }
    this.#files.set(path, { contents, readers: 1 });
    this.#schedule();
  }

  #release(path: string): void {
    const file = this.#files.get(path)!;
    if (--file.readers > 0) return;
    this.#files.delete(path);
    if (this.#files.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #schedule(): void {
    if (this.#files.size > 0 && !this.#isClosed) this.#timer ??= this.#clock.after(pollIntervalMs, this.#poll);
  }

  readonly #poll = (): void => {
    // Before the look: a reader that comes within it arms the next.
    this.#timer = undefined;
    void this.refresh().then(() => this.#schedule());
  };

  async #look(): Promise<void> {
    const found: { readonly path: string; readonly file: File; readonly contents: Buffer }[] = [];
    for (const [path, file] of this.#files) {
      try {
        found.push({ path, file, contents: await this.#readFile(path) });
      } catch {
        // Not there at the moment.
      }
    }
    if (this.#isClosed) return;
    // All at once: a certificate goes with its key.
    const changed = new Set<string>();
    for (const { path, file, contents } of found) {
      if (file.contents?.equals(contents) === true) continue;
      file.contents = contents;
      changed.add(path);
    }
    if (changed.size > 0) for (const listener of this.#listeners) listener(changed);
  }
}
