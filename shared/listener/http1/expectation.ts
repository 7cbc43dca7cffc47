import { ProxyError } from '../../errors/proxy-error.js';
import type { Headers } from '../../http/headers.js';

/** Refuses an `Expect` that nobody here can meet; 100-continue is passed on, and with it the upstream's 100 (RFC 9110 section 10.1.1). */
export function checkExpectation(headers: Headers, bodyHasBegun: boolean): void {
  if (headers.getCombined('expect')!.toLowerCase() !== '100-continue') throw new ProxyError('expectation_failed');
  // A client that did not wait needs no answer; otherwise the upstream's 100 is passed on.
  if (bodyHasBegun) headers.delete('expect');
}
