import type { Clock } from '../../clock/clock.js';
import { TimeLimit } from '../../clock/time-limit.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Layer } from '../../http/service.js';

/**
 * Gives up a request whose response has not started within `timeoutMs`, over all attempts and the waits between
 * them: `deadline_exceeded`. Never cuts a body.
 */
export function deadline(timeoutMs: number, { clock }: { clock: Clock }): Layer {
  const limit = new TimeLimit(clock, timeoutMs, () => new ProxyError('deadline_exceeded'));
  return (next) =>
    function deadline(request, exchange) {
      return limit.run(request, (limited) => next(limited, exchange));
    };
}
