import type { Clock } from '../../clock/clock.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { isGrpc } from '../../grpc/content-type.js';
import { attemptCountField, attemptNumber, expectedTimeout, expectedTimeoutField } from '../../http/mesh-fields.js';
import type { HttpRequest } from '../../http/message.js';
import type { Layer } from '../../http/service.js';

export interface AnnounceOptions {
  /** Whether to say how long the answer is waited for: always, never, or only to pass on what a caller said. */
  readonly deadline: 'always' | 'passed-on' | 'never';
  /** How long the answer of one attempt is waited for (ms). */
  readonly attemptTimeoutMs?: number | undefined;
}

/**
 * Tells whoever gets an attempt which one it is, from the second on, and how long its answer is waited for:
 * what is left of the deadline, anew for each attempt. An attempt for which nothing is left is not made.
 *
 * The first attempt carries no number: nearly all are first ones, and a field that says so would cost each of them a line.
 * The number counts on from what a proxy in front has said. Times are rounded up to whole milliseconds, so that a hop
 * which takes a fraction of one leaves the caller's field as it is.
 *
 * With a body that is still to come our own limits begin to count when it is here, which nobody can know: then only what the caller said is told.
 */
export function announce({ deadline, attemptTimeoutMs = Infinity }: AnnounceOptions, { clock }: { clock: Clock }): Layer {
  const saysAlways = deadline === 'always';
  const passesOn = deadline !== 'never';
  return (next) =>
    function announce(request, exchange) {
      const { headers } = request;
      const before = exchange.tried.length;
      if (before > 0) headers.set(attemptCountField, String(attemptNumber(headers) + before));
      const isToCome = isStillToCome(request);
      const until = isToCome ? exchange.callerGivesUpAt : exchange.deadlineAt;
      if ((saysAlways || (passesOn && exchange.callerGivesUpAt !== undefined)) && until !== undefined) {
        const left = until - clock.now();
        if (left <= 0) return Promise.reject(new ProxyError('deadline_exceeded'));
        const text = String(Math.ceil(isToCome ? left : Math.min(left, attemptTimeoutMs)));
        if (headers.get(expectedTimeout) !== text) headers.set(expectedTimeoutField, text);
      }
      return next(request, exchange);
    };
}

/** The body comes for as long as its client likes. A call of gRPC is timed from its beginning. */
function isStillToCome({ body, headers }: HttpRequest): boolean {
  return body.arrival !== undefined && !isGrpc(headers);
}
