import { Headers } from '../http/headers.js';
import { Http1Error } from './http1-error.js';

/*
 * The part that requests and responses share: a start line, then fields, then an empty line
 * (RFC 9112 section 2.1). Parsing is strict, because what two parsers read differently is how requests
 * are smuggled: lines end with CRLF and nothing else, no obs-fold, no space before a colon, no control
 * character anywhere.
 */

const CR = 13;
const LF = 10;
const TAB = 9;

/** The offset behind the empty line that ends a head, or -1. */
export function findHeadEnd(data: Buffer, from: number): number {
  const index = data.indexOf('\r\n\r\n', from, 'latin1');
  return index === -1 ? -1 : index + 4;
}

/** Throws at the first byte that no head may contain, so that a hopeless head is not waited for. */
export function checkHeadBytes(data: Buffer, start: number, end: number): void {
  for (let index = start; index < end; index++) {
    const byte = data[index]!;
    if (byte >= 32 && byte !== 127) continue;
    if (byte === CR && (index + 1 === end || data[index + 1] === LF)) index++;
    else if (byte !== TAB) throw new Http1Error('syntax', `byte 0x${byte.toString(16).padStart(2, '0')} in a head`);
  }
}

export interface Head {
  readonly startLine: string;
  readonly headers: Headers;
}

/** Parses a whole head: `data[start, end)`, the empty line included. */
export function parseHead(data: Buffer, start: number, end: number, maxHeaders: number): Head {
  checkHeadBytes(data, start, end);
  const text = data.latin1Slice(start, end - 2);
  const lineEnd = text.indexOf('\r\n');
  const startLine = text.slice(0, lineEnd);
  return { startLine, headers: parseFields(text, lineEnd + 2, maxHeaders) };
}

/** Parses field lines, each ended by CRLF, from `position` to the end of `text`. */
export function parseFields(text: string, position: number, maxHeaders: number): Headers {
  const names: string[] = [];
  const lines: string[] = [];
  while (position < text.length) {
    const lineEnd = text.indexOf('\r\n', position);
    const colon = text.indexOf(':', position);
    if (colon === -1 || colon > lineEnd) throw new Http1Error('syntax', 'a field line without a colon');
    if (names.length === maxHeaders) throw new Http1Error('too_many_headers', `more than ${maxHeaders} fields`);
    names.push(lowerCaseName(text.slice(position, colon)));
    lines.push(text.slice(position, lineEnd));
    position = lineEnd + 2;
  }
  return new Headers(names, lines);
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** Field names seen so far, as written, to their lower-case form: a hit needs no check and no new string. */
const knownNames = new Map<string, string>();
const maxKnownNames = 2_000;
const maxKnownNameLength = 64;

function lowerCaseName(name: string): string {
  const known = knownNames.get(name);
  if (known !== undefined) return known;
  if (!token.test(name)) throw new Http1Error('syntax', 'a field name that is not a token');
  const lower = name.toLowerCase();
  // Bounded: a client that invents names makes its own requests slower, not the table larger.
  if (knownNames.size < maxKnownNames && name.length <= maxKnownNameLength) knownNames.set(flatten(name), flatten(lower));
  return lower;
}

/** A copy that does not keep the head it was cut from alive. */
function flatten(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
