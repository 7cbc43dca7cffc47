import type { Headers } from '../http/headers.js';
import { responseFraming, type Framing } from './framing.js';
import { headText, parseFields } from './head.js';
import { Http1Error } from './http1-error.js';
import { wantsKeepAlive } from './request-head.js';

export interface ResponseHead {
  readonly status: number;
  readonly headers: Headers;
  readonly framing: Framing;
  /** Whether the connection may carry another exchange once this body has ended. */
  readonly keepAlive: boolean;
}

interface StatusLine {
  readonly status: number;
  readonly minorVersion: number;
}

const statusLine = /^HTTP\/1\.([01]) ([1-9]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?$/;
/** Status lines seen so far: an upstream uses a handful. */
const knownStatusLines = new Map<string, StatusLine>();
const maxKnown = 200;
const maxHeaders = 256;

/** Parses and checks the head of a response to `method`. Throws `Http1Error`. */
export function parseResponseHead(data: Buffer, start: number, end: number, method: string): ResponseHead {
  const text = headText(data, start, end);
  const lineEnd = text.indexOf('\r\n');
  const line = text.slice(0, lineEnd);
  const { status, minorVersion } = knownStatusLines.get(line) ?? parseStatusLine(line);
  const headers = parseFields(text, lineEnd + 2, maxHeaders);
  const framing = responseFraming(method, status, headers, minorVersion);
  return { status, headers, framing, keepAlive: framing.kind !== 'close' && wantsKeepAlive(headers, minorVersion) };
}

function parseStatusLine(line: string): StatusLine {
  const match = statusLine.exec(line);
  if (match === null) throw new Http1Error('syntax', 'a malformed status line');
  const parsed = { status: Number(match[2]), minorVersion: match[1] === '1' ? 1 : 0 };
  if (knownStatusLines.size < maxKnown && line.length <= 64) knownStatusLines.set(line, parsed);
  return parsed;
}
