import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';

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

/** Whether a server could not accept a connection for want of descriptors, here or in the whole system. */
export function isWantOfDescriptors({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EMFILE' || code === 'ENFILE';
}
