import type { RetryConfig } from '../config/policies.js';
import { grpcMatcher } from '../grpc/conditions.js';
import type { HttpResponse } from '../http/message.js';
import type { ErrorCode } from './catalogue.js';
import { ProxyError } from './proxy-error.js';

/** How an attempt ended: with an answer, or with what it threw. */
export type Outcome = { readonly response: HttpResponse; readonly error?: undefined } | { readonly response?: undefined; readonly error: unknown };

/**
 * `refused`: the attempt was turned away before anything of it was sent. `reset`: the connection broke before the answer
 * began; once it began it is on its way to the client, and not tried again.
 */
const codesOf: Readonly<Record<'connect-failure' | 'refused' | 'reset' | 'timeout', readonly ErrorCode[]>> = {
  'connect-failure': ['upstream_connect_failed', 'upstream_tls_failed', 'resources_exhausted'],
  refused: ['no_endpoint', 'breaker_open', 'upstream_queue_full', 'upstream_overloaded', 'upstream_refused'],
  reset: ['upstream_reset'],
  timeout: ['upstream_timeout'],
};

/** Statuses that a condition stands for. An error of our own that blames the upstream counts by its status too. */
const statusesOf: Readonly<Record<'5xx' | 'gateway-error' | 'retriable-4xx', readonly number[]>> = {
  '5xx': Array.from({ length: 100 }, (_, index) => 500 + index),
  'gateway-error': [502, 503, 504],
  'retriable-4xx': [409],
};

/** Whether an outcome is one of a policy's conditions. */
export function outcomeMatcher(conditions: RetryConfig['on']): (outcome: Outcome) => boolean {
  const codes = new Set<ErrorCode>();
  const statuses = new Set<number>();
  for (const condition of conditions) {
    if (typeof condition === 'number') statuses.add(condition);
    else if (condition in statusesOf) statusesOf[condition as keyof typeof statusesOf].forEach((status) => statuses.add(status));
    else if (condition in codesOf) codesOf[condition as keyof typeof codesOf].forEach((code) => codes.add(code));
  }
  const isGrpcFailure = grpcMatcher(conditions);
  return ({ response, error }) => {
    if (response !== undefined) return statuses.has(response.status) || isGrpcFailure?.(response) === true;
    return error instanceof ProxyError && (codes.has(error.code) || (error.entry.blamesUpstream && statuses.has(error.entry.status)));
  };
}

const nothingSent = new Set<ErrorCode>([...codesOf['connect-failure'], ...codesOf.refused]);

/** The attempt was turned away in this proxy: it cost the upstream nothing. */
export function neverLeft({ error }: Outcome): boolean {
  return error instanceof ProxyError && nothingSent.has(error.code) && !error.entry.blamesUpstream;
}

/** The attempt never reached anybody: it may be repeated whatever it was (RFC 9110 section 9.2.2). */
export function provesNothingWasSent({ error }: Outcome): boolean {
  return error instanceof ProxyError && nothingSent.has(error.code);
}
