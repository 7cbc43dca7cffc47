import type { Clock } from '../clock/clock.js';
import { DeadlineSweep, type Sweepable } from '../clock/deadline-sweep.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Body, BodySink } from '../http/body.js';
import { Cancellation } from '../http/cancellation.js';
import type { Exchange } from '../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import { PassedBody } from '../http/passed-body.js';
import type { Layer } from '../http/service.js';
import { isGrpc } from './content-type.js';
import { errorTrailers } from './error-response.js';
import { statusIn, statusOf } from './status.js';
import { formatGrpcTimeout, parseGrpcTimeout } from './timeout.js';

/** How late a deadline may be noticed (ms); the client's own is in time. */
const latenessMs = 10;

interface GrpcOptions {
  readonly clock: Clock;
  /** Caps what clients ask for with `grpc-timeout` (ms). */
  readonly maxTimeoutMs?: number | undefined;
  /** Hears of the status of each call that is over; of `undefined` when none was seen. */
  readonly onStatus?: ((exchange: Exchange, status: number | undefined) => void) | undefined;
}

/**
 * What gRPC means to a proxy: the deadline of a call, and how it ended. Other requests pass untouched.
 *
 * `grpc-timeout` limits the whole call, bodies included, unlike the `timeout` of a route, which limits the time until the answer begins
 * and holds as well. What is left of it is passed on with each attempt (`grpcTimeLeft`). The status is read from the trailers, or from the
 * head of an answer that has nothing else. An answer that breaks off within ends with trailers that say why.
 */
export function grpc({ clock, maxTimeoutMs = Infinity, onStatus }: GrpcOptions): Layer {
  const sweep = new DeadlineSweep(clock, [latenessMs * 4]);
  const expire = (exchange: Exchange): void => sweep.delete(exchange.grpcDeadline as CallDeadline);
  const report = (exchange: Exchange): void => onStatus?.(exchange, exchange.grpcStatus ?? (exchange.errorCode && statusOf(exchange.errorCode)));
  return (next) => {
    const observe = async (request: HttpRequest, exchange: Exchange): Promise<HttpResponse> => {
      const response = await next(request, exchange);
      if (!isGrpc(response.headers)) return response;
      exchange.grpcStatus = statusIn(response.headers);
      return response.body.whole === undefined ? { ...response, body: new ObservedBody(response.body, exchange) } : response;
    };
    return function grpc(request, exchange) {
      if (!isGrpc(request.headers)) return next(request, exchange);
      if (onStatus !== undefined) exchange.onFinish(report);
      const asked = parseGrpcTimeout(request.headers.get('grpc-timeout') ?? '');
      if (asked === undefined) return observe(request, exchange);
      const deadline = new CallDeadline(exchange.startedAt + Math.min(asked, maxTimeoutMs));
      exchange.grpcDeadline = deadline;
      request.cancellation.subscribe(deadline);
      if (deadline.deadline <= clock.now()) deadline.onDeadline();
      else sweep.add(deadline);
      exchange.onFinish(expire);
      return observe({ ...request, cancellation: deadline }, exchange);
    };
  };
}

/** Tells the endpoint how much time is left of the call's deadline. Stands closest to the connection, so that waits and attempts before are counted. */
export function grpcTimeLeft({ clock }: { readonly clock: Clock }): Layer {
  return (next) =>
    function grpcTimeLeft(request, exchange) {
      const { grpcDeadline } = exchange;
      if (grpcDeadline !== undefined) request.headers.set('grpc-timeout', formatGrpcTimeout(grpcDeadline.expiresAt - clock.now()));
      return next(request, exchange);
    };
}

/** The cancellation of a call with a deadline, and its place in the sweep. */
class CallDeadline extends Cancellation implements Sweepable {
  deadline: number;

  constructor(readonly expiresAt: number) {
    super();
    this.deadline = expiresAt;
  }

  onDeadline(): void {
    this.cancel(new ProxyError('deadline_exceeded'));
  }
}

/** Passes an answer's body on and notes the status behind it. */
class ObservedBody extends PassedBody {
  constructor(
    source: Body,
    private readonly exchange: Exchange,
  ) {
    super(source);
  }

  pipe(sink: BodySink): void {
    const { exchange } = this;
    this.source.pipe({
      chunk: (data) => sink.chunk(data),
      end: (trailers) => {
        if (trailers !== undefined) exchange.grpcStatus = statusIn(trailers);
        sink.end(trailers);
      },
      fail: (reason) => {
        const mayBeTold = reason instanceof ProxyError && reason.code !== 'client_closed' && exchange.httpVersion === '2';
        if (!mayBeTold) {
          sink.fail(reason);
          return;
        }
        exchange.errorCode ??= reason.code;
        sink.end(errorTrailers(reason, exchange));
      },
    });
  }
}
