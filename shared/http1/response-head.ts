import { BoundedMemo } from '../http/bounded-memo.js';
import { noResponseFields } from '../http/field-sequence.js';
import type { Headers } from '../http/headers.js';
import { interned } from '../http/interned.js';
import { responseFraming, type Framing } from './framing.js';
import { headText, parseFields, type HeadLines } from './head.js';
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
  /** With its CRLF. */
  readonly line: string;
  readonly status: number;
  readonly minorVersion: number;
}

const statusLine = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: [\t\x20-\x7e\x80-\xff]*)?\r\n$/;
/** Status lines seen so far: an upstream uses a handful. */
const knownStatusLines = new BoundedMemo<StatusLine>({ maxEntries: 200, maxLength: 64 });
/** The one before: most are alike. */
let last: StatusLine = { line: 'HTTP/1.1 200 OK\r\n', status: 200, minorVersion: 1 };
const maxHeaders = 256;

/** Parses and checks the head of a response to `method`: `data[start, end)`, whose `lines` are known where it was scanned. Throws `Http1Error`. */
export function parseResponseHead(data: Buffer, start: number, end: number, method: string, lines?: HeadLines): ResponseHead {
  const text = headText(data, start, end);
  const { line, status, minorVersion } = text.startsWith(last.line) ? last : lookUp(text.slice(0, text.indexOf('\r\n') + 2));
  const headers = parseFields(text, line.length, maxHeaders, noResponseFields, lines, start);
  const framing = responseFraming(method, status, headers, minorVersion);
  return { status, headers, framing, keepAlive: framing.kind !== 'close' && wantsKeepAlive(headers, minorVersion) };
}

function lookUp(line: string): StatusLine {
  const known = knownStatusLines.get(line);
  if (known !== undefined) return (last = known);
  const match = statusLine.exec(line);
  if (match === null) throw new Http1Error('syntax', 'a malformed status line');
  const parsed = { line: knownStatusLines.keeps(line) ? interned(line) : line, status: Number(match[2]), minorVersion: match[1] === '1' ? 1 : 0 };
  knownStatusLines.set(parsed.line, parsed);
  return parsed;
}
