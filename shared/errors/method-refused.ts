import { ProxyError } from './proxy-error.js';

/** What a proxy says it forwards (the value of `Allow`). */
export const forwardedMethods = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE';

/** RFC 9110 section 15.5.6: whoever refuses a method says which ones there are. */
export function methodRefused(cause?: unknown): ProxyError {
  return new ProxyError('method_refused', { cause, fields: { Allow: forwardedMethods } });
}
