import type { Layer } from '../http/service.js';

/**
 * Adds this proxy to the request's `Via` field (RFC 9110 section 7.6.3) under `pseudonym`, behind those before it: what a
 * proxy must do, so that loops can be seen and a server knows what its client can do.
 */
export function via(pseudonym: string): Layer {
  const received = { '1.0': `1.0 ${pseudonym}`, '1.1': `1.1 ${pseudonym}`, '2': `2 ${pseudonym}` };
  return (next) =>
    function via(request, exchange) {
      request.headers.append('Via', received[exchange.httpVersion]);
      return next(request, exchange);
    };
}
