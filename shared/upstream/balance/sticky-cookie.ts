import type { HashConfig } from '../../config/balance.js';
import { cookieOf } from '../../http/cookies.js';
import type { Layer } from '../../http/service.js';

/**
 * Gives a client without the cookie one, whose value decides where this request and all later ones go. The value is
 * random, and means nothing outside the ring. A retry keeps it: what comes next on the ring serves while the first cannot.
 */
export function stickyCookie(config: HashConfig | undefined, random: () => number): Layer | undefined {
  if (typeof config !== 'object' || !('cookie' in config) || config.ttl === undefined) return undefined;
  const { cookie, ttl, path } = config;
  const attributes = `; Path=${path}${ttl === 0 ? '' : `; Max-Age=${Math.ceil(ttl / 1_000)}`}; HttpOnly; SameSite=Lax`;
  const word = (): string => Math.floor(random() * 2 ** 32).toString(16).padStart(8, '0');
  return (next) =>
    function stickyCookie(request, exchange) {
      if (cookieOf(request.headers, cookie)) return next(request, exchange);
      const key = (exchange.stickyKey ??= word() + word());
      return next(request, exchange).then((response) => {
        response.headers.append('Set-Cookie', `${cookie}=${key}${attributes}${request.scheme === 'https' ? '; Secure' : ''}`);
        return response;
      });
    };
}
