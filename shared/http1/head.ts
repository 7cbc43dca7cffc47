import { noFields, type FieldSequence } from '../http/field-sequence.js';
import { Headers } from '../http/headers.js';
import { latin1Text } from '../http/latin1.js';
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

/** Where the lines of a head end, as it was scanned: so that whoever parses it need not look for them again. */
export class HeadLines {
  /** Offsets of their CRs, in the bytes that were scanned. */
  readonly ends = new Int32Array(128);
  /** How many there are; 0 if there is no room for them, or the head was scanned in pieces. */
  count = 0;
}

/**
 * Finds the end of the head that starts at `start`: the offset behind its empty line, or -1 when it is still to come.
 * Throws at the first byte that no head may contain, so that a hopeless head is not waited for.
 *
 * `from` is where to look, for a head whose first part was looked at before. Four bytes are looked at in one step, through `words`,
 * which begins where `data` does: most are plain, and of those that are not the lowest is known from the same step (Hacker's
 * Delight, section 6-1). On the way `lines` are filled.
 */
export function scanHead(data: Buffer, words: DataView, start: number, from: number, lines: HeadLines): number {
  const end = data.length;
  const { ends } = lines;
  let count = 0;
  // The empty line may have begun in what was looked at before.
  let index = Math.max(start, from - 3);
  for (;;) {
    while (index + 4 <= end) {
      const word = words.getInt32(index, true);
      const flipped = word ^ 0x7f7f7f7f;
      const found = (((word - 0x20202020) & ~word) | ((flipped - 0x01010101) & ~flipped)) & 0x80808080;
      if (found !== 0) {
        index += (31 - Math.clz32(found & -found)) >> 3;
        break;
      }
      index += 4;
    }
    if (index >= end) return -1;
    const byte = words.getUint8(index);
    if (byte === CR) {
      if (index + 1 === end) return -1;
      if (words.getUint8(index + 1) !== LF) throw unacceptable(byte);
      if (count < ends.length) ends[count] = index;
      count++;
      if (index + 4 <= end && words.getUint16(index + 2) === crlf) {
        lines.count = from > start || count > ends.length ? 0 : count;
        return index + 4;
      }
      index += 2;
    } else if (isPlain(byte) || (byte === LF && index > start && words.getUint8(index - 1) === CR)) {
      index++;
    } else {
      throw unacceptable(byte);
    }
  }
}

const crlf = 0x0d0a;

function isPlain(byte: number): boolean {
  return (byte >= 32 && byte !== 127) || byte === TAB;
}

function unacceptable(byte: number): Http1Error {
  return new Http1Error('syntax', `byte 0x${byte.toString(16).padStart(2, '0')} in a head`);
}

/** The text of a whole head, `data[start, end)`, without its empty line: each line with its CRLF. */
export function headText(data: Buffer, start: number, end: number): string {
  return latin1Text(data, start, end - 2);
}

/**
 * Parses field lines, each ended by CRLF, from `position` to the end of `text`; `sequence` is what they grow from. `lines`, where they are
 * known, are those of a head that began at `headStart`, of which the first is no field.
 */
export function parseFields(text: string, position: number, maxHeaders: number, sequence = noFields, lines?: HeadLines, headStart = 0): Headers {
  const start = position;
  const ends: number[] = [];
  const known = lines === undefined || lines.count === 0 ? undefined : lines.ends;
  let line = 0;
  while (position < text.length) {
    const lineEnd = known === undefined ? text.indexOf('\r\n', position) : known[++line]! - headStart;
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
