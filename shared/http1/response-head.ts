import type { Headers } from '../http/headers.js';
import { responseFraming, type Framing } from './framing.js';
import { parseHead } from './head.js';
import { Http1Error } from './http1-error.js';
import { wantsKeepAlive } from './request-head.js';

export interface ResponseHead {
  readonly status: number;
  readonly headers: Headers;
  readonly framing: Framing;
  /** Whether the connection may carry another exchange once this body has ended. */
  readonly keepAlive: boolean;
}

const statusLine = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const maxHeaders = 256;

/** Parses and checks the head of a response to `method`. Throws `Http1Error`. */
export function parseResponseHead(data: Buffer, start: number, end: number, method: string): ResponseHead {
  const { startLine, headers } = parseHead(data, start, end, maxHeaders);
  const match = statusLine.exec(startLine);
  if (match === null) throw new Http1Error('syntax', 'a malformed status line');
  const minorVersion = match[1] === '1' ? 1 : 0;
  const status = Number(match[2]);
  const framing = responseFraming(method, status, headers, minorVersion);
  return { status, headers, framing, keepAlive: framing.kind !== 'close' && wantsKeepAlive(headers, minorVersion) };
}
