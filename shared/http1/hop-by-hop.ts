import type { Headers } from '../http/headers.js';

/** Fields that concern one connection and end there (RFC 9110 section 7.6.1, and those of RFC 2616 still in use). */
const hopByHop = new Set([
  'connection', 'proxy-connection', 'keep-alive', 'transfer-encoding', 'te', 'upgrade', 'http2-settings',
  'proxy-authenticate', 'proxy-authorization', 'proxy-authentication-info',
]);

/** Fields that nobody can remove by naming them in `Connection`: framing, routing, identity. */
const protectedFields = /^(?:host|content-length|authorization|cookie|forwarded|via|trailer|traceparent|tracestate|x-request-id|x-forwarded-.*|x-auth-.*|x-real-ip)$/;

/** Removes the fields that must not be forwarded. Framing has been read from them before. */
export function removeHopByHop(headers: Headers): void {
  if (headers.has('connection')) {
    const options = headers.getCombined('connection')!.toLowerCase();
    if (options !== 'keep-alive' && options !== 'close') {
      for (const option of options.split(',')) {
        const name = option.trim();
        if (name !== '' && !protectedFields.test(name)) headers.delete(name);
      }
    }
  }
  headers.deleteWhere((name) => hopByHop.has(name));
}
