import { lstatSync, unlinkSync, type Stats } from 'node:fs';
import { connect, type AddressInfo, type Server } from 'node:net';
import type { OnRefusal } from './connection-limits.js';
import { goOnAccepting } from './descriptors.js';

export interface BindAddress {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** Of a Unix domain socket, instead of host and port. */
  readonly path?: string | undefined;
}

/** Starts to listen; rejects when the address cannot be taken. Resolves with the address taken. */
export async function bind(server: Server, { host, port, path }: BindAddress, onRefusal?: OnRefusal): Promise<AddressInfo> {
  if (path !== undefined) await removeStaleSocket(path);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path === undefined ? { host, port, backlog } : { path, backlog }, () => {
      server.off('error', reject);
      // As a connection is accepted: there will be others.
      goOnAccepting(server, onRefusal);
      resolve();
    });
  });
  return path === undefined ? (server.address() as AddressInfo) : pathAddress(path);
}

/** The address of a Unix domain socket, as one of the network looks. */
export function pathAddress(path: string): AddressInfo {
  return { address: path, family: 'unix', port: 0 };
}

const backlog = 1_024;

/**
 * Takes away the socket of a process that is gone: binding to it would fail for ever. One that answers is left alone. Rejects if something
 * else is there: a connection to a file is refused like one to a socket that nobody has.
 */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new Error(`cannot listen on ${path}: it is ${kindOf(found)}, and only a socket would be replaced`);
  const isAnswered = await new Promise<boolean>((resolve) => {
    const probe = connect(path, () => {
      probe.destroy();
      resolve(true);
    });
    probe.once('error', ({ code }: NodeJS.ErrnoException) => resolve(code !== 'ECONNREFUSED'));
  });
  if (!isAnswered) unlinkSync(path);
}

function kindOf(found: Stats): string {
  if (found.isFile()) return 'a file';
  if (found.isDirectory()) return 'a directory';
  return found.isSymbolicLink() ? 'a symbolic link' : 'no socket';
}
