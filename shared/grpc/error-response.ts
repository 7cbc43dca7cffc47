import type { ProxyError } from '../errors/proxy-error.js';
import { emptyBody } from '../http/body.js';
import type { Exchange } from '../http/exchange.js';
import { Headers } from '../http/headers.js';
import type { HttpResponse } from '../http/message.js';
import { statusOf } from './status.js';

/** An error as a client of gRPC sees it: nothing but trailers, with 200 and the status among them. */
export function grpcErrorResponse(error: ProxyError, exchange: Exchange): HttpResponse {
  const headers = errorTrailers(error, exchange);
  headers.append('content-type', 'application/grpc');
  for (const [name, value] of Object.entries(error.fields)) headers.append(name, value);
  return { status: 200, headers, body: emptyBody };
}

/** The end of a call that failed, and the note of it in the exchange. */
export function errorTrailers(error: ProxyError, exchange: Exchange): Headers {
  const status = statusOf(error.code);
  exchange.grpcStatus = status;
  return Headers.of({ 'grpc-status': String(status), 'grpc-message': encodeGrpcMessage(`${error.code}: ${error.entry.detail}`) });
}

/** Percent-encodes what is not printable ASCII, and the percent sign itself, byte by byte of UTF-8. */
export function encodeGrpcMessage(text: string): string {
  let encoded = '';
  for (const byte of Buffer.from(text)) encoded += byte >= 0x20 && byte <= 0x7e && byte !== 0x25 ? String.fromCharCode(byte) : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  return encoded;
}
