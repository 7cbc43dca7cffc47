import type { ErrorCode } from '../errors/catalogue.js';
import { describe } from '../errors/catalogue.js';
import type { Headers } from '../http/headers.js';
import type { HttpResponse } from '../http/message.js';

/** Statuses of gRPC that this proxy knows by name (https://grpc.github.io/grpc/core/md_doc_statuscodes.html). */
export const grpcStatus = {
  ok: 0, cancelled: 1, unknown: 2, deadlineExceeded: 4, permissionDenied: 7, resourceExhausted: 8, unimplemented: 12, internal: 13, unavailable: 14, dataLoss: 15,
  unauthenticated: 16,
} as const;

const highest = 16;

/** The status that fields carry; undefined when there is none, and `unknown` when it is none that gRPC has. */
export function statusIn(headers: Headers): number | undefined {
  const value = headers.get('grpc-status');
  if (value === undefined) return undefined;
  const status = /^\d{1,2}$/.test(value) ? Number(value) : NaN;
  return status <= highest ? status : grpcStatus.unknown;
}

/** The status of an answer that is nothing but its trailers, of which no message has gone anywhere. */
export function trailersOnlyStatus({ headers, body }: HttpResponse): number | undefined {
  return body.whole?.length === 0 ? statusIn(headers) : undefined;
}

/** What a client makes of a status of HTTP (https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md). */
const byHttpStatus: Readonly<Record<number, number>> = {
  400: grpcStatus.internal, 401: grpcStatus.unauthenticated, 403: grpcStatus.permissionDenied, 404: grpcStatus.unimplemented, 429: grpcStatus.unavailable, 502: grpcStatus.unavailable,
  503: grpcStatus.unavailable, 504: grpcStatus.unavailable,
};

/** What gRPC has a better word for than the mapping, which knows no more than the status. */
const byCode: Partial<Readonly<Record<ErrorCode, number>>> = { deadline_exceeded: grpcStatus.deadlineExceeded, client_closed: grpcStatus.cancelled };

/** The status that stands for an error of this proxy. */
export function statusOf(code: ErrorCode): number {
  return byCode[code] ?? byHttpStatus[describe(code).status] ?? grpcStatus.unknown;
}

/** Statuses that say that the server failed, and not that the call was wrong. */
const faults: ReadonlySet<number> = new Set([grpcStatus.unknown, grpcStatus.deadlineExceeded, grpcStatus.internal, grpcStatus.unavailable, grpcStatus.dataLoss]);

/** What an answer comes to as a status of HTTP, where it counts against its endpoint (as Envoy's outlier detection takes them). */
export function httpStatusOf(response: HttpResponse): number {
  if (response.status >= 500 || !isServerFault(response)) return response.status;
  const status = trailersOnlyStatus(response);
  return status === grpcStatus.unavailable ? 503 : status === grpcStatus.deadlineExceeded ? 504 : 500;
}

/** Whether an answer counts against its endpoint: a server error, of HTTP or, as far as its head tells, of gRPC. */
export function isServerFault(response: HttpResponse): boolean {
  return response.status >= 500 || faults.has(trailersOnlyStatus(response) ?? grpcStatus.ok);
}
