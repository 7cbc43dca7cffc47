import { fieldKind } from '../http/field-names.js';
import type { Headers } from '../http/headers.js';
import { Http1Error } from './http1-error.js';

/** Where a message's body ends (RFC 9112 section 6.3). */
export type Framing = { readonly kind: 'none' } | { readonly kind: 'length'; readonly length: number } | { readonly kind: 'chunked' } | { readonly kind: 'close' };

const none: Framing = { kind: 'none' };
const chunked: Framing = { kind: 'chunked' };
const close: Framing = { kind: 'close' };

/** A request has a body only if it says so; its end is always certain, or it is refused. */
export function requestFraming(headers: Headers, minorVersion: number): Framing {
  return declaredFraming(headers, minorVersion) ?? none;
}

/** A response's framing depends on the request too, and may be "until the connection closes". */
export function responseFraming(method: string, status: number, headers: Headers, minorVersion: number): Framing {
  const declared = declaredFraming(headers, minorVersion);
  if (method === 'HEAD' || status === 204 || status === 304 || status < 200) return none;
  return declared ?? close;
}

function declaredFraming(headers: Headers, minorVersion: number): Framing | undefined {
  if (headers.hasKind(fieldKind.transferEncoding)) {
    if (headers.hasKind(fieldKind.contentLength)) throw new Http1Error('framing', 'both Content-Length and Transfer-Encoding');
    if (minorVersion === 0) throw new Http1Error('framing', 'Transfer-Encoding in HTTP/1.0');
    if (headers.getCombined('transfer-encoding')!.toLowerCase() !== 'chunked') throw new Http1Error('framing', 'a transfer coding other than a single chunked');
    return chunked;
  }
  if (!headers.hasKind(fieldKind.contentLength)) return undefined;
  // Of several Content-Lengths none is believed, even if they are equal.
  const length = headers.repeatsKind(fieldKind.contentLength) ? undefined : wholeNumber(headers.getKind(fieldKind.contentLength)!);
  if (length === undefined) throw new Http1Error('framing', 'a Content-Length that is not a single number');
  return length === 0 ? none : { kind: 'length', length };
}

/** Digits and nothing else. At most 15: below 2^53, so that the number is exact. */
function wholeNumber(text: string): number | undefined {
  if (text.length === 0 || text.length > 15) return undefined;
  let number = 0;
  for (let index = 0; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return undefined;
    number = number * 10 + digit;
  }
  return number;
}
