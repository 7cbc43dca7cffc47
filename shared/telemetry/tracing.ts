import { fieldKind } from '../http/field-names.js';
import type { Layer } from '../http/service.js';
import { continueTrace, formatTraceparent, newIds } from './trace-context.js';

interface TracingOptions {
  /** Whether a request id that comes with the request is kept: inside the mesh, not at the edge. */
  readonly trustRequestId: boolean;
}

const acceptableId = /^[\w.:/+=-]{1,128}$/;

/** Gives each exchange a request id and a place in a W3C trace, and passes both upstream. */
export function tracing({ trustRequestId }: TracingOptions): Layer {
  return (next) =>
    function tracing(request, exchange) {
      const { headers } = request;
      const ids = newIds();
      if (!headers.hasKind(fieldKind.trace)) {
        exchange.requestId = ids.slice(48);
        exchange.trace = continueTrace(undefined, ids);
        headers.append('X-Request-Id', exchange.requestId);
        headers.append('traceparent', formatTraceparent(exchange.trace));
        return next(request, exchange);
      }
      // Of two nobody knows which is the caller's: a new trace is begun.
      const isAmbiguous = headers.repeatsKind(fieldKind.trace) && headers.count('traceparent') > 1;
      const offered = trustRequestId ? headers.get('x-request-id') : undefined;
      if (offered !== undefined && acceptableId.test(offered)) {
        exchange.requestId = offered;
      } else {
        exchange.requestId = ids.slice(48);
        headers.set('X-Request-Id', exchange.requestId);
      }
      exchange.trace = continueTrace(isAmbiguous ? undefined : headers.get('traceparent'), ids);
      headers.set('traceparent', formatTraceparent(exchange.trace));
      if (exchange.trace.parentSpanId === undefined) headers.delete('tracestate');
      return next(request, exchange);
    };
}
