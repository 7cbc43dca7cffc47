import { readFileSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import type { OnRefusal } from './connection-limits.js';

/**
 * How many descriptors this process may have (`ulimit -n`); Infinity where that cannot be known. Node has raised the soft limit to the hard one when
 * it started.
 */
export function descriptorLimit(): number {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8')) ?? [];
    return limit === undefined ? Infinity : Number(limit);
  } catch {
    return Infinity;
  }
}

/**
 * Whether a connection that was just accepted has one of the last descriptors. The kernel gives the lowest that is free, so hardly any is left: not enough for what
 * stands behind connections, and when the very last is gone libuv accepts and closes whatever comes, and tells nobody.
 */
export function hasLastDescriptor(socket: Socket, limit: number): boolean {
  const { _handle: handle } = socket as unknown as { readonly _handle?: { readonly fd?: number } | null };
  return (handle?.fd ?? -1) >= limit - reserved;
}

/** Descriptors that clients do not get: for upstreams, files and the process itself. */
const reserved = 16;

/** Has a server go on where it could not accept a connection, and tell if that was for want of descriptors, here or in the whole system. */
export function goOnAccepting(server: Server, onRefusal: OnRefusal | undefined): void {
  server.on('error', ({ code }: NodeJS.ErrnoException) => {
    if (code === 'EMFILE' || code === 'ENFILE') onRefusal?.('descriptors');
  });
}
