import { fieldKind } from '../../http/field-names.js';
import type { Headers } from '../../http/headers.js';
import type { HttpResponse } from '../../http/message.js';
import type { WireFraming } from '../../http1/message-writer.js';
import { statusLine } from '../../http1/status-line.js';

interface ResponseFraming {
  readonly kind: WireFraming;
  /** The field line that announces it, when the response does not carry one already. */
  readonly field: string;
}

const none: ResponseFraming = { kind: 'none', field: '' };
const emptyLength: ResponseFraming = { kind: 'length', field: 'Content-Length: 0\r\n' };
const declaredLength: ResponseFraming = { kind: 'length', field: '' };
const chunked: ResponseFraming = { kind: 'chunked', field: 'Transfer-Encoding: chunked\r\n' };
const close: ResponseFraming = { kind: 'close', field: '' };

/** How the body of `response` is framed towards a client of HTTP/1.`minorVersion`. */
export function responseFramingFor(method: string, response: HttpResponse, minorVersion: number): ResponseFraming {
  const { status, headers, body } = response;
  if (method === 'HEAD' || status === 204 || status === 304) return none;
  if (body.length === undefined) return minorVersion === 1 ? chunked : close;
  if (headers.hasKind(fieldKind.contentLength)) return declaredLength;
  return body.length === 0 ? emptyLength : { kind: 'length', field: `Content-Length: ${body.length}\r\n` };
}

/** There is no length where there can be no body (RFC 9110 section 8.6): whoever believed it would wait for one. */
export function dropLength(headers: Headers): void {
  if (headers.hasKind(fieldKind.contentLength)) headers.delete('content-length');
}

/** The head as it goes on the wire. `date`: the field line for an answer that was not dated; `connection`: those that say what becomes of the connection. */
export function responseHead({ status, headers }: HttpResponse, { field }: ResponseFraming, date: string, connection: string): string {
  return `${statusLine(status) + headers.toWire() + date + field + connection}\r\n`;
}
