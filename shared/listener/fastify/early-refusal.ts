import { METHODS, type IncomingMessage } from 'node:http';
import type { Http2ServerRequest } from 'node:http2';
import { methodRefused } from '../../errors/method-refused.js';
import { ProxyError } from '../../errors/proxy-error.js';

const methods = new Set(METHODS);

/** Why a request is refused before Fastify sees it, which has no route for some of these, as Node has answers of its own to others. */
export function earlyRefusal(request: IncomingMessage | Http2ServerRequest, { maxHeadBytes }: { readonly maxHeadBytes: number }): ProxyError | undefined {
  const { method, httpVersion, headers } = request;
  if (method === 'CONNECT') return methodRefused();
  // Node's parser of HTTP/1.x knows no others; HTTP/2 takes any.
  if (!methods.has(method ?? '')) return new ProxyError('bad_request');
  if (httpVersion === '1.1' && headers.host === undefined) return new ProxyError('bad_request');
  if (httpVersion === '2.0' && headBytes(request.rawHeaders) > maxHeadBytes) return new ProxyError('head_too_large');
  if (headers.expect !== undefined && httpVersion !== '1.0' && !asksToContinue(request)) return new ProxyError('expectation_failed');
  return undefined;
}

/** Whether a client waits to hear that its body is wanted. HTTP/1.0 does not know how (RFC 9110 section 10.1.1). */
export function asksToContinue({ httpVersion, headers }: IncomingMessage | Http2ServerRequest): boolean {
  return httpVersion !== '1.0' && headers.expect?.toLowerCase() === '100-continue';
}

/** What the fields take in HTTP/1.1, or would. */
export function headBytes(raw: readonly string[]): number {
  let bytes = 0;
  for (let index = 0; index < raw.length; index += 2) bytes += raw[index]!.length + raw[index + 1]!.length + 4;
  return bytes;
}
