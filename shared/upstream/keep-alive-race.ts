import { ProxyError } from '../errors/proxy-error.js';
import { isIdempotent, type HttpRequest } from '../http/message.js';

/** RFC 9110 section 9.2.2: a request that may have been processed is sent again only if that is harmless. */
export function isKeepAliveRace(error: unknown, request: HttpRequest, nothingReceived: boolean): boolean {
  return (
    error instanceof ProxyError &&
    error.code === 'upstream_reset' &&
    nothingReceived &&
    !request.cancellation.isCancelled &&
    request.body.whole !== undefined &&
    isIdempotent(request.method)
  );
}
