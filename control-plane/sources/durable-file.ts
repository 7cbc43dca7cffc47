import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { notWritten } from './store-unavailable.js';

/**
 * One file whose contents are replaced as a whole, and survive a crash at any moment.
 *
 * The new contents are written beside the old ones and synced, renamed over them, and then the directory is synced: without the last step the
 * rename itself may be lost with the power, and with it what was acknowledged. The name beside is always the same, so that a writer that is
 * killed again and again leaves one file behind and not one each time.
 */
export class DurableFile {
  #written: string | undefined;

  constructor(readonly path: string) {}

  /** The contents; undefined when there is no such file. */
  async read(): Promise<string | undefined> {
    try {
      const text = await readFile(this.path, 'utf8');
      this.#written = await this.#mark();
      return text;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Resolves when the contents are on disk for good. Rejects with `StoreUnavailable` when the disk does not take them, and, leaving the file as it is, when another process has written it since. */
  async replace(chunks: readonly string[]): Promise<void> {
    if ((await this.#mark()) !== this.#written) throw new Error(`${this.path} was written by another process: two control planes cannot share a directory`);
    const beside = `${this.path}.new`;
    try {
      await write(beside, chunks.join(''));
      await rename(beside, this.path);
      this.#written = await this.#mark();
      await syncDirectory(dirname(this.path));
    } catch (error) {
      // What there is of it would take the room that a full disk has not.
      await rm(beside, { force: true }).catch(() => {});
      throw notWritten('The change', error);
    }
  }

  /** Tells the file from one that was put in its place. */
  async #mark(): Promise<string | undefined> {
    try {
      const { ino, size, mtimeNs } = await stat(this.path, { bigint: true });
      return `${ino} ${size} ${mtimeNs}`;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  }
}

async function write(path: string, text: string): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Puts on disk that a directory has an entry. */
export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
