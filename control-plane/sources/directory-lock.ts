import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, open, readdir, rm, type FileHandle } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';

const prefix = 'in-use-';
const name = /^in-use-[0-9a-f]{16}$/;
/** Bytes that the address of a socket may have, on the system that allows least. */
const longestAddress = 100;

/**
 * Keeps a directory to one control plane: the second to come is refused, also one in another container on the same machine.
 *
 * Each makes a socket in the directory, of a name that nobody had before, listens on it, and only then looks for others. Where somebody answers, the
 * directory is in use; a socket where nobody does was left behind by a process that was killed, and is taken away. Since each listens before it looks, of
 * two that come together one at least sees the other; and since no name comes again, nobody takes away what is in use. No process id is compared: in a
 * container it is 1 each time.
 *
 * Rejects when somebody else is there. Returns the release.
 */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const own = `${prefix}${randomBytes(8).toString('hex')}`;
  const addresses = await openAddresses(directory);
  const server = createServer((socket) => socket.destroy());
  const release = async (): Promise<void> => {
    // Which takes the socket away too.
    await new Promise((resolve) => server.close(resolve));
    await addresses.close();
  };
  try {
    server.listen(addresses.of(own));
    await once(server, 'listening');
    server.unref();
    for (const other of (await readdir(directory)).filter((entry) => name.test(entry) && entry !== own)) {
      if (await answers(addresses.of(other))) throw new Error(`another control plane is at work in ${directory}: expected a directory for each, or store: { kind: etcd } for several`);
      await rm(join(directory, other), { force: true });
    }
  } catch (error) {
    await release();
    throw error;
  }
  return release;
}

/** Addresses of sockets in a directory: where its own path is too long for one, by its descriptor (Linux). */
async function openAddresses(directory: string): Promise<{ of(entry: string): string; close(): Promise<void> }> {
  const isLong = Buffer.byteLength(join(directory, `${prefix}${'0'.repeat(16)}`)) > longestAddress;
  const handle: FileHandle | undefined = isLong ? await open(directory, 'r') : undefined;
  return {
    of: (entry) => (handle === undefined ? join(directory, entry) : `/proc/self/fd/${handle.fd}/${entry}`),
    close: async () => handle?.close(),
  };
}

async function answers(address: string): Promise<boolean> {
  const socket = connect(address);
  try {
    await once(socket, 'connect');
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // Refused: nobody listens. No entry: it has just been closed.
    if (code === 'ECONNREFUSED' || code === 'ENOENT') return false;
    // Somebody listened, and has not come to take it, or left before.
    if (code === 'EAGAIN' || code === 'ECONNRESET') return true;
    throw error;
  } finally {
    socket.destroy();
  }
}
