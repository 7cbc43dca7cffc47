import type { HashConfig } from '../../config/balance.js';
import { cookieOf } from '../../http/cookies.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest } from '../../http/message.js';

/** What keeps a request on its endpoint; undefined when it has nothing of the kind. For a connection that is no HTTP's it is always the client's address. */
type HashKey = (request: HttpRequest, exchange: Exchange) => string | undefined;

export function hashKey(config: HashConfig): HashKey {
  if (config === 'ip') return (_request, exchange) => exchange.clientAddress;
  if (config === 'path') return (request, exchange) => request.path || streamKey(request, exchange);
  if ('header' in config) {
    const { header } = config;
    return (request, exchange) => request.headers.get(header) || streamKey(request, exchange);
  }
  const { cookie } = config;
  return (request, exchange) => cookieOf(request.headers, cookie) || exchange.stickyKey || streamKey(request, exchange);
}

function streamKey({ stream }: HttpRequest, { clientAddress }: Exchange): string | undefined {
  return stream === undefined ? undefined : clientAddress;
}
