import { chmod, mkdir, open, readdir, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';

/** Makes a directory that only its owner may look into; one that others may is closed to them. */
export async function privateDirectory(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await chmod(directory, 0o700);
}

/**
 * Replaces a file so that a crash at any moment leaves the old or the new one, whole: written beside it, synced, renamed over it, and the
 * rename synced too. Only its owner may read it, unless `mode` says otherwise.
 */
export async function writeDurably(file: string, data: string, mode = 0o600): Promise<void> {
  await writeFileAtomic(file, data, { mode, fsync: true });
  const directory = await open(dirname(file), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Removes what writers that were killed in the middle have left beside a file: it may hold a key. */
export async function removeLeftovers(file: string): Promise<void> {
  const directory = dirname(file);
  const prefix = `${basename(file)}.`;
  for (const name of await readdir(directory)) {
    if (name.startsWith(prefix) && /^\d+$/.test(name.slice(prefix.length))) await rm(join(directory, name), { force: true });
  }
}
