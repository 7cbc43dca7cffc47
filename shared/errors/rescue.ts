import { isGrpc } from '../grpc/content-type.js';
import { grpcErrorResponse } from '../grpc/error-response.js';
import type { Exchange } from '../http/exchange.js';
import type { Layer } from '../http/service.js';
import { problemResponse } from './problem.js';
import { toProxyError, type ProxyError } from './proxy-error.js';

export interface RescueOptions {
  /** Hears of every error that became an answer. */
  readonly onError?: (error: ProxyError, exchange: Exchange) => void;
}

/** Turns what the layers below throw into an answer: the one place where errors become responses. */
export function rescue({ onError }: RescueOptions = {}): Layer {
  return (next) =>
    async function rescue(request, exchange) {
      try {
        return await next(request, exchange);
      } catch (thrown) {
        const error = toProxyError(thrown);
        exchange.errorCode = error.code;
        onError?.(error, exchange);
        if (isGrpc(request.headers)) return grpcErrorResponse(error, exchange);
        return problemResponse(error, exchange.requestId);
      }
    };
}
