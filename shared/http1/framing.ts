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
  const transferEncoding = headers.has('transfer-encoding');
  const contentLength = headers.has('content-length');
  if (transferEncoding) {
    if (contentLength) throw new Http1Error('framing', 'both Content-Length and Transfer-Encoding');
    if (minorVersion === 0) throw new Http1Error('framing', 'Transfer-Encoding in HTTP/1.0');
    const codings = headers.getAll('transfer-encoding');
    if (codings.length !== 1 || codings[0]!.toLowerCase() !== 'chunked') {
      throw new Http1Error('framing', 'a transfer coding other than a single chunked');
    }
    return chunked;
  }
  if (!contentLength) return undefined;
  const lengths = headers.getAll('content-length');
  if (lengths.length !== 1) throw new Http1Error('framing', 'more than one Content-Length');
  // At most 15 digits: below 2^53, so that the number is exact.
  if (!/^\d{1,15}$/.test(lengths[0]!)) throw new Http1Error('framing', 'a Content-Length that is not a number');
  const length = Number(lengths[0]);
  return length === 0 ? none : { kind: 'length', length };
}
