import type { Clock } from '../../clock/clock.js';
import { TimeLimit } from '../../clock/time-limit.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Layer } from '../../http/service.js';

/**
 * Gives up an attempt whose response has not started within `timeoutMs`: `upstream_timeout`, which may be
 * retried. Never cuts a body. Time in which the client was awaited to send the rest of its request does not count.
 *
 * It counts against the endpoint unless the request is still its client's to send: in what is open by design, or not asked for, all time counts
 * here, and anybody could use it up.
 */
export function attemptTimeout(timeoutMs: number, { clock }: { clock: Clock }): Layer {
  const limit = new TimeLimit(clock, timeoutMs, ({ arrival }) => new ProxyError('upstream_timeout', { blamesUpstream: arrival?.isOwed !== true }));
  return (next) =>
    function attemptTimeout(request, exchange) {
      return limit.run(request, (limited) => next(limited, exchange));
    };
}
