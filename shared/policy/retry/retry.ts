import { delay, type Clock } from '../../clock/clock.js';
import type { RetryConfig } from '../../config/policies.js';
import { neverLeft, outcomeMatcher, provesNothingWasSent, type Outcome } from '../../errors/retry-conditions.js';
import { grpcMatcher } from '../../grpc/conditions.js';
import { Discard } from '../../http/discard.js';
import type { Exchange } from '../../http/exchange.js';
import { attemptNumber } from '../../http/mesh-fields.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { ReplayableBody } from '../../http/replayable-body.js';
import type { Layer } from '../../http/service.js';
import { parseRetryAfter } from './retry-after.js';
import type { RetryBudget } from './retry-budget.js';

interface RetryDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** Shared by all that send to the same upstream. */
  readonly budget: RetryBudget;
  /** Caps retries at a time, beside the budget. */
  readonly places?: RetryPlaces | undefined;
  readonly onEvent?: (event: RetryEvent) => void;
}

export interface RetryPlaces {
  enterRetry(): boolean;
  leaveRetry(): void;
}

/** `retried`: another attempt is made. `budget_exhausted`: it would have been, but for the budget. */
export type RetryEvent = 'retried' | 'budget_exhausted';

/**
 * Tries again what failed and may succeed.
 *
 * A failure qualifies by `on`, a request by `methods` or its `Idempotency-Key`; a connection that could not be made never
 * carried anything and may be tried again for every request (RFC 9110 section 9.2.2). Before each retry there is a
 * full-jitter exponential wait, on top of what the answer's `Retry-After` says if that is not too long. A retry needs a
 * body that can be sent again, time left before the deadline, and the budget's consent. When no retry is made, the last
 * outcome is passed on as it came.
 *
 * A request that a proxy in front already retries is not first in line: with `whenRetried: once` it is not repeated here
 * unless nothing was sent, since retries of two layers multiply; and it never adds to the budget.
 */
export function retry(config: RetryConfig, { clock, random, budget, places, onEvent }: RetryDependencies): Layer {
  const methods = new Set(config.methods);
  const qualifies = outcomeMatcher(config.on);
  const isGrpcFailure = grpcMatcher(config.on);
  const discard = new Discard(clock);

  const mayRepeat = ({ method, headers }: HttpRequest): boolean =>
    methods.has(method) || (config.idempotencyKey && (headers.get('idempotency-key') ?? '') !== '');

  /** How long to wait before the next attempt (ms), or undefined to let it be. */
  function waitBefore(attempt: number, outcome: Outcome, request: HttpRequest, exchange: Exchange, body: ReplayableBody | undefined): number | undefined {
    if (!qualifies(outcome) || request.cancellation.isCancelled) return undefined;
    if (!provesNothingWasSent(outcome)) {
      // Every call of gRPC is a POST: whoever names its statuses means those.
      if (!mayRepeat(request) && !(outcome.response && isGrpcFailure?.(outcome.response))) return undefined;
      if (config.whenRetried === 'once' && attemptNumber(request.headers) > 1) return undefined;
    }
    if (body?.canReplay === false) return undefined;
    if (attempt >= config.attempts) {
      exchange.retriesExhausted = attempt > 1;
      return undefined;
    }
    const { base, max } = config.backoff;
    const wanted = outcome.response === undefined ? 0 : (parseRetryAfter(outcome.response.headers.get('retry-after'), clock.wallNow()) ?? 0);
    // A long Retry-After is the client's to honour, not ours to sit out.
    if (wanted > config.maxRetryAfter) return undefined;
    const waitMs = wanted + random() * Math.min(max, base * 2 ** (attempt - 1));
    const now = clock.now();
    exchange.responseLimit?.correctDeadline(now);
    // Better the answer that there is than none: waiting for the deadline would end in an error of our own.
    if (exchange.deadlineAt !== undefined && now + waitMs >= exchange.deadlineAt) return undefined;
    if (places !== undefined && !places.enterRetry()) {
      exchange.isRetryRefused = true;
      return undefined;
    }
    if (!budget.withdraw()) {
      places?.leaveRetry();
      exchange.isRetryRefused = true;
      onEvent?.('budget_exhausted');
      return undefined;
    }
    return waitMs;
  }

  return (next) => {
    const attempt = (request: HttpRequest, exchange: Exchange, body: ReplayableBody | undefined): Promise<HttpResponse> =>
      next({ ...request, headers: request.headers.clone(), body: body === undefined ? request.body : body.forAttempt() }, exchange);

    /** Passes an attempt's outcome on, or makes another attempt. */
    function conclude(number: number, outcome: Outcome, request: HttpRequest, exchange: Exchange, body: ReplayableBody | undefined): HttpResponse | Promise<HttpResponse> {
      const waitMs = waitBefore(number, outcome, request, exchange, body);
      if (waitMs !== undefined) {
        body?.detach();
        if (outcome.response !== undefined) discard.discard(outcome.response.body);
        return tryAgain(number + 1, waitMs, request, exchange, body);
      }
      if (outcome.response === undefined) throw outcome.error;
      return outcome.response;
    }

    async function tryAgain(number: number, waitMs: number, request: HttpRequest, exchange: Exchange, body: ReplayableBody | undefined): Promise<HttpResponse> {
      let outcome: Outcome;
      let isMade = false;
      try {
        await delay(clock, waitMs, request.cancellation);
        isMade = true;
        onEvent?.('retried');
        outcome = await attempt(request, exchange, body).then(answered, failed);
      } finally {
        places?.leaveRetry();
        // Or clients that leave while they wait use up what others need.
        if (!isMade) budget.giveBack();
      }
      // Or requests that find every breaker open use up what others need when endpoints are back.
      if (neverLeft(outcome)) budget.giveBack();
      return conclude(number, outcome, request, exchange, body);
    }

    return function retry(request, exchange) {
      if (attemptNumber(request.headers) === 1) budget.deposit();
      // What is whole in memory can be sent as often as one likes.
      const body = request.body.whole === undefined ? new ReplayableBody(request.body, config.maxBodyBytes) : undefined;
      return attempt(request, exchange, body).then(
        (response) => conclude(1, answered(response), request, exchange, body),
        (error: unknown) => conclude(1, failed(error), request, exchange, body),
      );
    };
  };
}

const answered = (response: HttpResponse): Outcome => ({ response });
const failed = (error: unknown): Outcome => ({ error });
