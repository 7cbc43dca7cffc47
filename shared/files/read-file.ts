import { closeSync, constants, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { open } from 'node:fs/promises';

/*
 * Reading files that somebody else writes. What else there may be at a path than a file has no end, or waits for a writer for ever, and a
 * thread or the whole process with it; a file may grow while it is read, and some have no size. So only regular files are read, and only
 * so much of them.
 */

const flags = constants.O_RDONLY | constants.O_NONBLOCK;

/** What certificates, keys, passwords and sets of keys may take (bytes): all authorities that a system trusts take half of it. */
const defaultMaxBytes = 1_048_576;

/** Contents of a file. Rejects if it cannot be read (`whyUnreadable` says why), is no regular file, or has more than `maxBytes`. */
export async function readFileBounded(path: string, maxBytes = defaultMaxBytes): Promise<Buffer> {
  const handle = await open(path, flags);
  try {
    refuseUnlessFile(await handle.stat());
    const pieces: Buffer[] = [];
    for await (const piece of handle.createReadStream({ end: maxBytes, autoClose: false })) pieces.push(piece as Buffer);
    return refuseIfLonger(Buffer.concat(pieces), maxBytes);
  } finally {
    await handle.close();
  }
}

/** The same at once, for where a process begins or is checked. */
export function readFileBoundedSync(path: string, maxBytes = defaultMaxBytes): Buffer {
  const descriptor = openSync(path, flags);
  try {
    refuseUnlessFile(fstatSync(descriptor));
    const pieces: Buffer[] = [];
    for (let size = 0; size <= maxBytes; ) {
      const piece = Buffer.allocUnsafeSlow(Math.min(65_536, maxBytes + 1 - size));
      const read = readSync(descriptor, piece);
      if (read === 0) break;
      size += read;
      pieces.push(piece.subarray(0, read));
    }
    return refuseIfLonger(Buffer.concat(pieces), maxBytes);
  } finally {
    closeSync(descriptor);
  }
}

/** Why a file could not be read, to stand in brackets: the system's code, or what is wrong with it. */
export function whyUnreadable(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}

function refuseUnlessFile(found: Stats): void {
  if (!found.isFile()) throw new Error('it is no regular file');
}

function refuseIfLonger(contents: Buffer, maxBytes: number): Buffer {
  if (contents.length > maxBytes) throw new Error(`it has more than ${maxBytes} bytes, which are all that is read`);
  return contents;
}
