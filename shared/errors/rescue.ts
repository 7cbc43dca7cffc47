import { isGrpc } from '../grpc/content-type.js';
import { grpcErrorResponse } from '../grpc/error-response.js';
import type { Exchange } from '../http/exchange.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { Layer } from '../http/service.js';
import { problemResponse } from './problem.js';
import { loggedReasonOf } from './reason.js';
import { toProxyError, type ProxyError } from './proxy-error.js';

interface RescueOptions {
  /** Hears of every error that became an answer. */
  readonly onError?: (error: ProxyError, exchange: Exchange) => void;
}

/** Turns what the layers below throw into an answer: the one place where errors become responses. */
export function rescue({ onError }: RescueOptions = {}): Layer {
  const answer = (thrown: unknown, request: HttpRequest, exchange: Exchange): HttpResponse => {
    const error = toProxyError(thrown);
    exchange.errorCode = error.code;
    exchange.reason = loggedReasonOf(error);
    onError?.(error, exchange);
    return isGrpc(request.headers) ? grpcErrorResponse(error, exchange) : problemResponse(error, exchange.requestId);
  };
  return (next) =>
    // Every request passes here: an async function would cost it three turns of the queue instead of one.
    function rescue(request, exchange) {
      try {
        return next(request, exchange).then(undefined, (thrown: unknown) => answer(thrown, request, exchange));
      } catch (thrown) {
        return Promise.resolve(answer(thrown, request, exchange));
      }
    };
}
