import { delay, type Clock } from '../../clock/clock.js';
import type { RetryConfig } from '../../config/policies.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { grpcMatcher } from '../../grpc/conditions.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Layer } from '../../http/service.js';
import { parseRetryAfter } from './retry-after.js';
import { ReplayableBody } from './replayable-body.js';
import { RetryBudget } from './retry-budget.js';

export interface RetryDependencies {
  readonly clock: Clock;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly onEvent?: (event: RetryEvent) => void;
}

/** `retried`: another attempt is made. `budget_exhausted`: it would have been, but for the budget. */
export type RetryEvent = 'retried' | 'budget_exhausted';

/**
 * Tries again what failed and may succeed.
 *
 * A failure qualifies by `on`, a request by `methods`; a connection that could not be made never carried anything and may
 * be tried again for every method (RFC 9110 section 9.2.2). Before each retry there is a full-jitter exponential wait, or
 * what the answer's `Retry-After` says if that is not too long. A retry needs the budget's consent and a
 * body that can be sent again. When no retry is made, the last outcome is passed on as it came.
 */
export function retry(config: RetryConfig, { clock, random, onEvent }: RetryDependencies): Layer {
  const budget = new RetryBudget(config.budget, clock);
  const methods = new Set(config.methods);
  const isGrpcFailure = grpcMatcher(config.on);
  const qualifies = outcomeMatcher(config.on, isGrpcFailure);

  /** How long to wait before the next attempt (ms), or undefined to let it be. */
  function waitBefore(attempt: number, outcome: Outcome, request: HttpRequest, body: ReplayableBody): number | undefined {
    if (attempt >= config.attempts || request.cancellation.isCancelled || !qualifies(outcome)) return undefined;
    // Every call of gRPC is a POST: whoever names its statuses means those.
    if (!methods.has(request.method) && !provesNothingWasSent(outcome) && !(outcome.response && isGrpcFailure?.(outcome.response))) return undefined;
    if (!body.canReplay) return undefined;
    const { base, max } = config.backoff;
    const wanted = outcome.response && parseRetryAfter(outcome.response.headers.get('retry-after'), clock.wallNow());
    // A long Retry-After is the client's to honour, not ours to sit out.
    if (wanted !== undefined && wanted > max * 10) return undefined;
    if (!budget.withdraw()) {
      onEvent?.('budget_exhausted');
      return undefined;
    }
    onEvent?.('retried');
    return Math.max(wanted ?? 0, random() * Math.min(max, base * 2 ** (attempt - 1)));
  }

  return (next) =>
    async function retry(request, exchange) {
      budget.deposit();
      const body = new ReplayableBody(request.body, config.maxBodyBytes);
      for (let attempt = 1; ; attempt++) {
        const outcome = await settle(next, request, exchange, body);
        const waitMs = waitBefore(attempt, outcome, request, body);
        if (waitMs === undefined) {
          if (outcome.response === undefined) throw outcome.error;
          return outcome.response;
        }
        outcome.response?.body.cancel(abandoned);
        await delay(clock, waitMs, request.cancellation);
      }
    };
}

const abandoned = new Error('the answer was dropped for another attempt');

type Outcome = { readonly response: HttpResponse; readonly error?: undefined } | { readonly response?: undefined; readonly error: unknown };

async function settle(next: (request: HttpRequest, exchange: Exchange) => Promise<HttpResponse>, request: HttpRequest, exchange: Exchange, body: ReplayableBody): Promise<Outcome> {
  try {
    return { response: await next({ ...request, headers: request.headers.clone(), body: body.forAttempt() }, exchange) };
  } catch (error) {
    return { error };
  }
}

const codesOf: Readonly<Record<'connect-failure' | 'reset' | 'timeout', readonly ErrorCode[]>> = {
  'connect-failure': ['upstream_connect_failed', 'upstream_tls_failed', 'upstream_refused', 'no_endpoint', 'breaker_open'],
  reset: ['upstream_reset', 'upstream_truncated'],
  timeout: ['upstream_timeout'],
};

function outcomeMatcher(conditions: RetryConfig['on'], isGrpcFailure: ((response: HttpResponse) => boolean) | undefined): (outcome: Outcome) => boolean {
  const codes = new Set<ErrorCode>();
  const statuses = new Set<number>();
  for (const condition of conditions) {
    if (typeof condition === 'number') statuses.add(condition);
    else if (condition === 'gateway-error') [502, 503, 504].forEach((status) => statuses.add(status));
    else if (condition === '5xx') for (let status = 500; status < 600; status++) statuses.add(status);
    else if (condition in codesOf) codesOf[condition as keyof typeof codesOf].forEach((code) => codes.add(code));
  }
  return ({ response, error }) => {
    if (response !== undefined) return statuses.has(response.status) || isGrpcFailure?.(response) === true;
    return error instanceof ProxyError && (codes.has(error.code) || (error.entry.blamesUpstream && statuses.has(error.entry.status)));
  };
}

function provesNothingWasSent({ error }: Outcome): boolean {
  return error instanceof ProxyError && codesOf['connect-failure'].includes(error.code);
}
