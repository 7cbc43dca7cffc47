import type { HttpResponse } from '../http/message.js';
import { grpcStatus, trailersOnlyStatus } from './status.js';

/** Statuses of gRPC after which a call may be tried again, as Envoy names them in `retry_on`. */
const statuses = {
  cancelled: grpcStatus.cancelled,
  'deadline-exceeded': grpcStatus.deadlineExceeded,
  internal: grpcStatus.internal,
  'resource-exhausted': grpcStatus.resourceExhausted,
  unavailable: grpcStatus.unavailable,
} as const;

type GrpcCondition = keyof typeof statuses;
export const grpcConditions = Object.keys(statuses) as GrpcCondition[];

/**
 * Whether an answer carries one of the statuses among `conditions`; undefined when none of them is one of gRPC. Only answers
 * without any message are looked at: behind a message it is too late, since it may have been forwarded.
 */
export function grpcMatcher(conditions: readonly unknown[]): ((response: HttpResponse) => boolean) | undefined {
  const wanted = new Set<number>();
  for (const condition of conditions) if (typeof condition === 'string' && condition in statuses) wanted.add(statuses[condition as GrpcCondition]);
  if (wanted.size === 0) return undefined;
  return (response) => {
    const status = trailersOnlyStatus(response);
    return status !== undefined && wanted.has(status);
  };
}
