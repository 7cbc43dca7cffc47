import { noFields, type FieldSequence } from '../http/field-sequence.js';
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

/**
 * Finds the end of the head that starts at `start`: the offset behind its empty line, or -1 when it is still to come.
 * Throws at the first byte that no head may contain, so that a hopeless head is not waited for.
 *
 * `from` is where to look, for a head whose first part was looked at before.
 */
export function scanHead(data: Buffer, start: number, from = start): number {
  // The empty line may have begun in what was looked at before.
  for (let index = Math.max(start, from - 3); index < data.length; index++) {
    const byte = data[index]!;
    if (byte >= 32 && byte !== 127) continue;
    if (byte === CR) {
      if (index + 1 === data.length) return -1;
      if (data[index + 1] !== LF) throw unacceptable(byte);
      if (data[index + 2] === CR && data[index + 3] === LF) return index + 4;
      index++;
    } else if (byte !== TAB && !(byte === LF && index > start && data[index - 1] === CR)) {
      throw unacceptable(byte);
    }
  }
  return -1;
}

function unacceptable(byte: number): Http1Error {
  return new Http1Error('syntax', `byte 0x${byte.toString(16).padStart(2, '0')} in a head`);
}

/** The text of a whole head, `data[start, end)`, without its empty line: each line with its CRLF. */
export function headText(data: Buffer, start: number, end: number): string {
  return data.latin1Slice(start, end - 2);
}

/** Parses field lines, each ended by CRLF, from `position` to the end of `text`. */
export function parseFields(text: string, position: number, maxHeaders: number): Headers {
  const start = position;
  const ends: number[] = [];
  let sequence = noFields;
  while (position < text.length) {
    const lineEnd = text.indexOf('\r\n', position);
    if (sequence.size === maxHeaders) throw new Http1Error('too_many_headers', `more than ${maxHeaders} fields`);
    const likely = sequence.likelyNext;
    sequence = likely !== undefined && text.startsWith(likely.label, position) ? likely : unlikelyNext(sequence, text, position, lineEnd);
    position = lineEnd + 2;
    ends.push(position - start);
  }
  return Headers.parsed(text.slice(start), sequence, ends);
}

function unlikelyNext(sequence: FieldSequence, text: string, position: number, lineEnd: number): FieldSequence {
  const colon = text.indexOf(':', position);
  if (colon === -1 || colon > lineEnd) throw new Http1Error('syntax', 'a field line without a colon');
  const next = sequence.then(text.slice(position, colon));
  if (next === undefined) throw new Http1Error('syntax', 'a field name that is not a token');
  return next;
}
