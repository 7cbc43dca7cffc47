import type { Clock } from '../../clock/clock.js';
import { TimeLimit } from '../../clock/time-limit.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Layer } from '../../http/service.js';

/**
 * Gives up an attempt whose response has not started within `timeoutMs`: `upstream_timeout`, which may be
 * retried and counts against the endpoint. Never cuts a body. Time in which the client was awaited to send the rest of its request
 * does not count.
 */
export function attemptTimeout(timeoutMs: number, { clock }: { clock: Clock }): Layer {
  const limit = new TimeLimit(clock, timeoutMs, () => new ProxyError('upstream_timeout'));
  return (next) =>
    function attemptTimeout(request, exchange) {
      return limit.run(request, (limited) => next(limited, exchange));
    };
}
