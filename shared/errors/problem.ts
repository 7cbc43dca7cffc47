import { STATUS_CODES } from 'node:http';
import { WholeBody } from '../http/body.js';
import { Headers } from '../http/headers.js';
import type { HttpResponse } from '../http/message.js';
import type { ProxyError } from './proxy-error.js';

/** An error as the client sees it: RFC 9457, with our stable `code`; nothing of what happened underneath. */
export function problemResponse(error: ProxyError, requestId: string): HttpResponse {
  const { status } = error;
  const { detail } = error.entry;
  const body = Buffer.from(JSON.stringify({ type: 'about:blank', title: STATUS_CODES[status] ?? 'Client Closed Request', status, code: error.code, detail, ...(requestId === '' ? {} : { requestId }) }));
  const headers = Headers.of({ 'Content-Type': 'application/problem+json', 'Content-Length': String(body.length), 'Cache-Control': 'no-store' });
  for (const [name, value] of Object.entries(error.fields)) headers.append(name, value);
  return { status, headers, body: new WholeBody(body) };
}
