import { ProxyError } from '../../errors/proxy-error.js';
import { fieldKind } from '../../http/field-names.js';
import type { RequestHead } from '../../http1/request-head.js';
import { checkScheme } from '../../http1/target.js';

/**
 * Refuses a request whose head says already that it cannot be served: a body that is too large, `https` asked for where nothing is
 * encrypted (RFC 9110 section 7.4), or an `Expect` that nobody here can meet. 100-continue is passed on, and with it the upstream's
 * 100 (section 10.1.1).
 */
export function checkRequest({ target, framing, headers, minorVersion }: RequestHead, maxBodyBytes: number, isSecure: boolean, bodyHasBegun: boolean): void {
  checkScheme(target, isSecure);
  if (framing.kind === 'length' && framing.length > maxBodyBytes) throw new ProxyError('body_too_large');
  if (!headers.hasKind(fieldKind.expect)) return;
  if (minorVersion === 0) {
    headers.delete('expect');
    return;
  }
  if (headers.getCombined('expect')!.toLowerCase() !== '100-continue') throw new ProxyError('expectation_failed');
  // A client that did not wait needs no answer.
  if (bodyHasBegun) headers.delete('expect');
}
