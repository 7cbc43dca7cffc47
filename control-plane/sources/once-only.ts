import { createHash } from 'node:crypto';
import { mkdir, open, readFile, type FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import type { Clock } from '../../shared/clock/clock.js';
import { notWritten, StoreUnavailable } from './store-unavailable.js';

/** Remembers what was used, so that it is used once. Interchangeable: memory, a file, or etcd. */
export interface OnceOnly {
  /**
   * Resolves with true for the first who uses an id, and false for all others, however many at the same time. Counts when it is on disk.
   * `expiresAt` (wall clock, ms): from then on the id is refused elsewhere, and need not be remembered for ever; one that has expired is not usable.
   * Rejects when it cannot be known or kept: the id is not to be accepted then.
   */
  use(id: string, expiresAt: number): Promise<boolean>;
}

const maxRemembered = 100_000;
/** Expired entries are looked for when there are this many more than before. */
const sweepEvery = 1_000;

/** How long an id is good for at most unless it is said (ms): an hour, and clocks that are ten minutes apart. */
const longestLifeMs = 4_200_000;

interface OnceOnlyLimits {
  /** How much is remembered at a time; beyond it nothing is accepted until something has expired. */
  readonly limit?: number | undefined;
  /** How long an id is good for at most (ms). */
  readonly longestLifeMs?: number | undefined;
}

interface Entry {
  /** Wall clock, ms. */
  readonly expiresAt: number;
  /** Clock reading (ms) at which this process came to know it. */
  readonly since: number;
}

/** What an id is kept as: ids are secrets until they are used. */
export function digestOf(id: string): string {
  return createHash('sha256').update(id).digest('base64url');
}

/**
 * In this process, and lost with it.
 *
 * The wall clock alone forgets nothing: one that is ahead for a while would make everything good again when it is set right. An entry goes when it
 * has expired by the wall clock, and has also been here for as long as an id can be good, by the clock that nobody sets. Only where there
 * is no room otherwise what has expired goes before.
 */
export class MemoryOnceOnly implements OnceOnly {
  readonly #used = new Map<string, Entry>();
  readonly #limit: number;
  readonly #longestLifeMs: number;
  #sweepAt = sweepEvery;

  constructor(
    private readonly clock: Clock,
    limits: OnceOnlyLimits = {},
  ) {
    this.#limit = limits.limit ?? maxRemembered;
    this.#longestLifeMs = limits.longestLifeMs ?? longestLifeMs;
  }

  use(id: string, expiresAt: number): Promise<boolean> {
    return Promise.resolve().then(() => this.take(digestOf(id), expiresAt));
  }

  /** Throws when there is no room. */
  take(digest: string, expiresAt: number): boolean {
    if (expiresAt <= this.clock.wallNow() || this.#used.has(digest)) return false;
    if (this.#used.size >= this.#sweepAt) this.#sweep();
    if (this.#used.size >= this.#limit) this.#sweep(0);
    if (this.#used.size >= this.#limit) throw new StoreUnavailable(`${this.#limit} used tokens are remembered; no more are taken until some have expired.`);
    this.restore(digest, expiresAt);
    return true;
  }

  /** What was used before this process began, expired or not. */
  restore(digest: string, expiresAt: number): void {
    this.#used.set(digest, { expiresAt, since: this.clock.now() });
  }

  /** Has it be as if an id had never been used. */
  giveBack(digest: string): void {
    this.#used.delete(digest);
  }

  /** All that counts. */
  entries(): readonly (readonly [digest: string, expiresAt: number])[] {
    this.#sweep();
    return [...this.#used].map(([digest, { expiresAt }]) => [digest, expiresAt]);
  }

  #sweep(atLeastMs = this.#longestLifeMs): void {
    const [now, wallNow] = [this.clock.now(), this.clock.wallNow()];
    for (const [digest, { expiresAt, since }] of this.#used) if (expiresAt <= wallNow && now - since >= atLeastMs) this.#used.delete(digest);
    this.#sweepAt = this.#used.size + sweepEvery;
  }
}

/**
 * In `DIRECTORY/used.log`: a line for each id, as its digest, appended and synced before anybody is told.
 *
 * A line that a crash cut short was acknowledged to nobody. What counts no more is left out when the file is written anew: at the start, and
 * whenever it has grown to more than twice what counts.
 */
export class FileOnceOnly implements OnceOnly {
  readonly #memory: MemoryOnceOnly;
  #lines = 0;
  #rewriteAt = 0;
  #turn: Promise<unknown> = Promise.resolve();
  #file: FileHandle | undefined;

  private constructor(
    private readonly path: string,
    clock: Clock,
    limits: OnceOnlyLimits | undefined,
  ) {
    this.#memory = new MemoryOnceOnly(clock, limits);
  }

  /** Rejects when the file cannot be read or written. */
  static async open(directory: string, clock: Clock, limits?: OnceOnlyLimits): Promise<FileOnceOnly> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const once = new FileOnceOnly(join(directory, 'used.log'), clock, limits);
    const text = await readFile(once.path, 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    });
    for (const line of text.split('\n').slice(0, -1)) {
      const [digest, expiresAt] = line.split(' ');
      if (digest !== undefined && Number(expiresAt) > 0) once.#memory.restore(digest, Number(expiresAt));
    }
    await once.#rewrite();
    return once;
  }

  async use(id: string, expiresAt: number): Promise<boolean> {
    const digest = digestOf(id);
    if (!this.#memory.take(digest, expiresAt)) return false;
    const written = this.#turn.then(() => this.#append(`${digest} ${expiresAt}\n`));
    this.#turn = written.catch(() => {});
    try {
      await written;
    } catch (error) {
      // Nobody was told that it may be used, so it is still good; at worst, where the line has got to the disk after all, not after a restart.
      this.#memory.giveBack(digest);
      throw notWritten('That the token was used', error);
    }
    return true;
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.#file?.close();
    this.#file = undefined;
  }

  async #append(line: string): Promise<void> {
    // After a failed write the file may end in half a line, which would swallow the next: it is written anew.
    if (this.#file === undefined || this.#lines >= this.#rewriteAt) return this.#rewrite();
    const file = this.#file;
    try {
      await file.appendFile(line);
      await file.datasync();
      this.#lines++;
    } catch (error) {
      this.#file = undefined;
      await file.close().catch(() => {});
      throw error;
    }
  }

  /** Writes all that counts, the newest included, beside the old file and in its place. */
  async #rewrite(): Promise<void> {
    const entries = this.#memory.entries();
    await this.#file?.close();
    this.#file = undefined;
    await writeFileAtomic(this.path, entries.map(([digest, end]) => `${digest} ${end}\n`).join(''), { mode: 0o600, fsync: true });
    this.#file = await open(this.path, 'a', 0o600);
    await syncDirectory(dirname(this.path));
    this.#lines = entries.length;
    this.#rewriteAt = 2 * entries.length + sweepEvery;
  }
}

/** A name counts when its directory is on disk. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
