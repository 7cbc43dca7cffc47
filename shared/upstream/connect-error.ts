import { closeSync, openSync } from 'node:fs';
import { devNull } from 'node:os';
import type { ErrorCode } from '../errors/catalogue.js';
import { ProxyError } from '../errors/proxy-error.js';

/** What connect(2) and socket(2) fail with when it is this process or its machine that has none left: descriptors, memory. */
const shortages = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM']);

/** Whether a connection could not be made for a want of our own, of which the endpoint knows nothing. */
export function isShortage(error: Error): boolean {
  const { code = '', syscall } = error as NodeJS.ErrnoException;
  // Without a descriptor for its files and sockets a look-up finds no name, and says that or something else.
  return shortages.has(code) || (syscall === 'getaddrinfo' && !hasDescriptor());
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
