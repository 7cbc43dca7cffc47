import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import { systemClock } from '../clock/clock.js';
import type { ErrorCode } from '../errors/catalogue.js';
import { ProxyError } from '../errors/proxy-error.js';

/** What connect(2) and socket(2) fail with when it is this process or its machine that has none left: descriptors, memory. */
const shortages = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);

/** How long (ms) after a want a look-up may still fail for it: it fails in a thread of its own, and is heard of later. */
const lookUpMs = 1_000;
let wantedAt = -Infinity;

/** Whether a connection could not be made for a want of our own, of which the endpoint knows nothing. */
export function isShortage(error: Error, now = systemClock.now()): boolean {
  const { syscall } = error as NodeJS.ErrnoException;
  // Without a descriptor for its files and sockets a look-up finds no name, and says that or something else.
  const isLookUp = syscall === 'getaddrinfo';
  if (isWant(error) || (isLookUp && !hasDescriptor())) wantedAt = now;
  else if (!isLookUp || now > wantedAt + lookUpMs) return false;
  return true;
}

/** Of the addresses of a name each is tried: one may be refused, and the next want a descriptor. */
function isWant(error: Error): boolean {
  const causes = error instanceof AggregateError ? (error.errors as NodeJS.ErrnoException[]) : [error as NodeJS.ErrnoException];
  return causes.some(({ code = '' }) => shortages.has(code));
}

function hasDescriptor(): boolean {
  try {
    closeSync(openSync(devNull, 'r'));
    return true;
  } catch (error) {
    return !shortages.has((error as NodeJS.ErrnoException).code ?? '');
  }
}

/** Why there is no connection: `code`, unless it was for a want of our own. */
export function connectError(code: ErrorCode, cause: Error): ProxyError {
  return new ProxyError(isShortage(cause) ? 'resources_exhausted' : code, { cause });
}
