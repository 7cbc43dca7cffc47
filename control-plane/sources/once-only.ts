import { createHash } from 'node:crypto';
import { open, readFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '../../shared/clock/clock.js';
import { writeDurably } from '../../shared/identity/write-durably.js';

/** Remembers what was used, so that it is used once. Interchangeable: a file, or etcd. */
export interface OnceOnly {
  /**
   * Resolves with true for the first who uses an id, and false for all others, however many at the same time. Counts when it is on disk.
   * `expiresAt` (wall clock, ms): from then on the id is refused elsewhere, and need not be remembered.
   */
  use(id: string, expiresAt: number): Promise<boolean>;
}

/**
 * In `DIRECTORY/used.log`: a line for each id, as its digest, appended and synced before anybody is told. What has expired is left out
 * at the next start. A line that a crash cut short was acknowledged to nobody.
 */
export class FileOnceOnly implements OnceOnly {
  readonly #used = new Map<string, number>();
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(
    private readonly clock: Clock,
    private readonly file: FileHandle,
  ) {}

  static async open(directory: string, clock: Clock): Promise<FileOnceOnly> {
    const path = join(directory, 'used.log');
    const text = await readFile(path, 'utf8').catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
      throw error;
    });
    const alive = text.split('\n').slice(0, -1).filter((line) => Number(line.split(' ')[1]) > clock.wallNow());
    await writeDurably(path, alive.map((line) => `${line}\n`).join(''));
    const once = new FileOnceOnly(clock, await open(path, 'a', 0o600));
    for (const line of alive) once.#used.set(line.split(' ')[0]!, Number(line.split(' ')[1]));
    return once;
  }

  async use(id: string, expiresAt: number): Promise<boolean> {
    const digest = createHash('sha256').update(id).digest('base64url');
    for (const [known, end] of this.#used) if (end <= this.clock.wallNow()) this.#used.delete(known);
    if (this.#used.has(digest)) return false;
    this.#used.set(digest, expiresAt);
    const written = this.#turn.then(async () => {
      await this.file.appendFile(`${digest} ${expiresAt}\n`);
      await this.file.datasync();
    });
    // A failed write leaves it used: whether it reached the disk is not known.
    this.#turn = written.catch(() => {});
    await written;
    return true;
  }

  async close(): Promise<void> {
    await this.#turn;
    await this.file.close();
  }
}
