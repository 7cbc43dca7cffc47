import { ProxyError } from '../errors/proxy-error.js';
import type { HttpResponse } from '../http/message.js';
import type { Layer } from '../http/service.js';

/**
 * Tries other endpoints while no connection can be made. No byte has been passed then, so that is always harmless. At most
 * `maxAttempts` are made, and no more than there are endpoints: one that just refused will refuse again.
 */
export function failover(maxAttempts: number, endpointCount: () => number): Layer {
  return (next) =>
    async function failover(request, exchange): Promise<HttpResponse> {
      const attempts = Math.min(maxAttempts, endpointCount());
      for (let attempt = 1; ; attempt++) {
        try {
          return await next(request, exchange);
        } catch (error) {
          const mayTryAgain = error instanceof ProxyError && error.entry.retryable && !request.cancellation.isCancelled;
          if (!mayTryAgain || attempt >= attempts) throw error;
        }
      }
    };
}
