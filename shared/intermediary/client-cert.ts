import { fieldKind } from '../http/field-names.js';
import type { Layer } from '../http/service.js';

/**
 * Tells the application who called, in Envoy's `X-Forwarded-Client-Cert`: of a connection that has proven it, and of no other. What a
 * caller says about itself under that name is removed.
 */
export const clientCert: Layer = (next) =>
  function clientCert(request, exchange) {
    const { headers } = request;
    const { peer } = exchange;
    if (headers.hasKind(fieldKind.identity)) {
      headers.delete('x-forwarded-client-cert');
      headers.deleteUnderscored(fieldKind.identity);
    }
    if (peer?.forwarded !== undefined) headers.appendAll(peer.forwarded);
    return next(request, exchange);
  };
