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
  if (!headers.hasKind(fieldKind.framing)) return undefined;
  const transferEncoding = headers.getCombined('transfer-encoding');
  if (transferEncoding !== undefined) {
    if (headers.has('content-length')) throw new Http1Error('framing', 'both Content-Length and Transfer-Encoding');
    if (minorVersion === 0) throw new Http1Error('framing', 'Transfer-Encoding in HTTP/1.0');
    if (transferEncoding.toLowerCase() !== 'chunked') throw new Http1Error('framing', 'a transfer coding other than a single chunked');
    return chunked;
  }
  const contentLength = headers.getCombined('content-length');
  if (contentLength === undefined) return undefined;
  // A list is no number either: of several Content-Lengths none is believed. At most 15 digits: below 2^53, so that the number is exact.
  if (!/^\d{1,15}$/.test(contentLength)) throw new Http1Error('framing', 'a Content-Length that is not a single number');
  const length = Number(contentLength);
  return length === 0 ? none : { kind: 'length', length };
}
