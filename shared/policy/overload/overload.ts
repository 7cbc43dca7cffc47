import { ProxyError } from '../../errors/proxy-error.js';
import type { Layer } from '../../http/service.js';

/**
 * Refuses requests beyond `maxInFlight` at a time with `overloaded`. A request counts until its response has
 * been sent whole or broken off.
 */
export function overload(maxInFlight: number): Layer {
  return (next) => {
    let inFlight = 0;
    const leave = (): void => {
      inFlight--;
    };
    return function overload(request, exchange) {
      if (inFlight >= maxInFlight) return Promise.reject(new ProxyError('overloaded', { fields: { 'Retry-After': '1' } }));
      inFlight++;
      exchange.onFinish(leave);
      return next(request, exchange);
    };
  };
}
