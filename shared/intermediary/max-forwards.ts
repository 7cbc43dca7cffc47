import { forwardedMethods, methodRefused } from '../errors/method-refused.js';
import { ProxyError } from '../errors/proxy-error.js';
import { emptyBody } from '../http/body.js';
import { Headers } from '../http/headers.js';
import type { Layer } from '../http/service.js';

/**
 * Counts `Max-Forwards` of OPTIONS and TRACE requests down, and answers those whose count is used up (RFC 9110 section
 * 7.6.2): OPTIONS with what this proxy forwards, TRACE with a refusal, since an echo would show a script what was sent
 * along for it. A value that is no number is refused.
 */
export const maxForwards: Layer = (next) =>
  function maxForwards(request, exchange) {
    const { method, headers } = request;
    if ((method !== 'OPTIONS' && method !== 'TRACE') || !headers.has('max-forwards')) return next(request, exchange);
    const values = headers.getAll('max-forwards');
    if (values.length !== 1 || !/^\d{1,9}$/.test(values[0]!)) return Promise.reject(new ProxyError('bad_request'));
    const left = Number(values[0]);
    if (left > 0) {
      headers.set('Max-Forwards', String(left - 1));
      return next(request, exchange);
    }
    if (method === 'TRACE') return Promise.reject(methodRefused());
    return Promise.resolve({ status: 204, headers: Headers.of({ Allow: forwardedMethods }), body: emptyBody });
  };
