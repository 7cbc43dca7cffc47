import { ProxyError } from '../../errors/proxy-error.js';
import type { Service } from '../../http/service.js';

/**
 * Chooses again when the breaker of the chosen endpoint refuses, so that no attempt is spent on a refusal while another
 * endpoint would take the request. Nothing was sent, and its body was not asked for.
 *
 * Endpoints that a breaker holds back are not chosen. But a request may wait between the choice and the breaker, for a
 * connection within the limits of its upstream, and meanwhile the breaker opens, or another request is its probe. Where
 * nobody waits this is not needed.
 */
export function untilAccepted(choose: Service): Service {
  return async function untilAccepted(request, exchange) {
    const { tried } = exchange;
    for (;;) {
      const before = tried.length;
      try {
        return await choose(request, exchange);
      } catch (error) {
        const chosen = tried.length > before ? tried[before]! : undefined;
        const isRefused = error instanceof ProxyError && error.code === 'breaker_open';
        // Nobody was left to choose, or only one that had been tried: all were asked.
        if (!isRefused || chosen === undefined || tried.indexOf(chosen) < before || request.cancellation.isCancelled) throw error;
      }
    }
  };
}
