import type { Clock } from '../../clock/clock.js';
import { ResponseTimeLimit } from '../../clock/response-time-limit.js';
import { TimeLimitAt } from '../../clock/time-limit-at.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { TimeoutExceeded } from '../../errors/timeout-exceeded.js';
import type { Exchange } from '../../http/exchange.js';
import { fieldKind } from '../../http/field-names.js';
import type { Headers } from '../../http/headers.js';
import { expectedTimeout } from '../../http/mesh-fields.js';
import type { Layer } from '../../http/service.js';

/**
 * Gives up a request whose response has not started within `timeoutMs`, over all attempts and the waits between
 * them: `deadline_exceeded`. Never cuts a body. Time in which the client was awaited to send the rest of its request does not count.
 *
 * A caller that is trusted may have less time left, and says so in `X-Envoy-Expected-Rq-Timeout-Ms`; it can
 * shorten the time, not lengthen it, and all of it counts. (`grpc-timeout` limits whole calls: shared/grpc/.) What it has left counts from the first byte of its request. Where nothing is left
 * the request fails at once. `exchange.deadlineAt` is for the layers below.
 */
export function deadline(timeoutMs: number, { clock }: { clock: Clock }): Layer {
  const exceeded = (): ProxyError => new ProxyError('deadline_exceeded');
  const own = new ResponseTimeLimit(clock, timeoutMs, (startedAt) => new TimeoutExceeded(startedAt, timeoutMs));
  const callers = new TimeLimitAt(clock, exceeded);
  return (next) =>
    function deadline(request, exchange) {
      const now = clock.now();
      const givenUpAt = callerGivesUpAt(request.headers, exchange);
      if (givenUpAt !== Infinity) exchange.callerGivesUpAt = givenUpAt;
      if (givenUpAt >= now + timeoutMs) {
        exchange.deadlineAt = now + timeoutMs;
        own.start(exchange, request, now);
        return next(request, exchange);
      }
      exchange.deadlineAt = givenUpAt;
      if (givenUpAt <= now) return Promise.reject(exceeded());
      return callers.run(request, givenUpAt, (limited) => next(limited, exchange));
    };
}

/** Clock reading at which the caller stops waiting; `Infinity` when it says nothing that we believe. */
function callerGivesUpAt(headers: Headers, exchange: Exchange): number {
  if (!headers.hasKind(fieldKind.mesh)) return Infinity;
  const field = headers.get(expectedTimeout);
  if (field === undefined || !exchange.isCallerTrusted || !/^\d{1,10}$/.test(field)) return Infinity;
  return exchange.startedAt + Number(field);
}
