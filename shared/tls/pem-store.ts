import type { Clock, Timer } from '../clock/clock.js';
import { readFileBounded, readFileBoundedSync, whyUnreadable } from '../files/read-file.js';

/** How often files are looked at for change (ms). Contents are compared: orchestrators exchange secrets by links. */
const pollIntervalMs = 5_000;

/** What may be over at the next look: a file that is exchanged is gone for a moment, and a process that is short of descriptors reads none. */
const passing: ReadonlySet<string> = new Set(['ENOENT', 'EMFILE', 'ENFILE']);

/** Hears of each change of the files that it reads; or of one that cannot be read any more, once until it can be again, which is a change. */
type OnChange = (lost: Error | undefined) => void;

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
  /** Why the last look could not read it; undefined if it could. */
  missed: string | undefined;
  /** Why it cannot be read, as far as its readers know: they were told, or have opened it like that. */
  told: string | undefined;
}

/**
 * The certificates, keys, tokens and key sets of a process, by path, kept up to date for as long as somebody reads them.
 *
 * A file that cannot be read any more keeps its last contents, since a certificate that is being exchanged may be gone for a moment; if it is gone for
 * two looks, or cannot be read for a reason that does not pass, its readers hear of it. Looks never overlap and do not block the process, however slow the volume is; they read one file after the other, so that one that hangs takes a single
 * thread of those that look up names too.
 */
export class PemStore {
  readonly #clock: Clock;
  readonly #readFile: (path: string) => Promise<Buffer>;
  readonly #files = new Map<string, File>();
  readonly #listeners = new Set<(changed: ReadonlySet<string>, lost: ReadonlyMap<string, Error>) => void>();
  #looks: Promise<void> = Promise.resolve();
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(clock: Clock, read: (path: string) => Promise<Buffer> = readFileBounded) {
    this.#clock = clock;
    this.#readFile = read;
  }

  /** They need not be there yet: that one comes is a change. `onChange` runs after each change of one of them, or of several at once, and for each that is lost. */
  open(paths: readonly string[], onChange?: OnChange): PemFiles {
    const own = new Set(paths);
    for (const path of own) this.#acquire(path);
    const listener = (changed: ReadonlySet<string>, lost: ReadonlyMap<string, Error>): void => {
      for (const [path, error] of lost) if (own.has(path)) onChange!(error);
      if (paths.some((path) => changed.has(path))) onChange!(undefined);
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
    let told: string | undefined;
    try {
      contents = readFileBoundedSync(path);
    } catch (error) {
      // Not there yet, as whoever opens it finds by reading.
      told = whyUnreadable(error);
    }
    this.#files.set(path, { contents, readers: 1, missed: told, told });
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
    const lost = new Map<string, Error>();
    for (const [path, file] of this.#files) {
      try {
        found.push({ path, file, contents: await this.#readFile(path) });
      } catch (error) {
        const why = whyUnreadable(error);
        const mayPass = passing.has(why) && file.missed === undefined;
        file.missed = why;
        if (mayPass || why === file.told) continue;
        file.told = why;
        lost.set(path, new Error(`${path}: the file cannot be read (${why})`, { cause: error }));
      }
    }
    if (this.#isClosed) return;
    // All at once: a certificate goes with its key.
    const changed = new Set<string>();
    for (const { path, file, contents } of found) {
      const isBack = file.told !== undefined;
      file.missed = file.told = undefined;
      if (file.contents?.equals(contents) === true && !isBack) continue;
      file.contents = contents;
      changed.add(path);
    }
    if (changed.size > 0 || lost.size > 0) for (const listener of this.#listeners) listener(changed, lost);
  }
}
