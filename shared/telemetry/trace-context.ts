import { Buffer } from 'node:buffer';
import { randomFillSync } from 'node:crypto';
import { hexText } from '../http/latin1.js';

/**
 * W3C Trace Context, level 1 (https://www.w3.org/TR/trace-context/): takes part in the caller's
 * trace, or starts one.
 */
export interface TraceContext {
  /** 32 lower-case hex digits, shared by every span of the trace. */
  readonly traceId: string;
  /** 16 lower-case hex digits: this proxy's span, the parent of whatever is next. */
  readonly spanId: string;
  /** The caller's span, when it sent a valid `traceparent`. */
  readonly parentSpanId: string | undefined;
  /** Two hex digits; bit 0 is `sampled`, bit 1 says that the trace's id was drawn by chance (level 2). */
  readonly flags: string;
}

/** Continues the trace of a `traceparent` field; a missing or malformed one starts a new trace. The new ids are cut from `ids`. */
export function continueTrace(field: string | undefined, ids = newIds()): TraceContext {
  const spanId = ids.slice(32, 48);
  if (field === undefined || !isTraceparent(field)) return { traceId: ids.slice(0, 32), spanId, parentSpanId: undefined, flags: '01' };
  return { traceId: field.slice(3, 35), spanId, parentSpanId: field.slice(36, 52), flags: knownFlags(field.charCodeAt(54)) };
}

/** Of a caller's flags those that mean something to us are passed on as they are, all others are zero (section 3.2.2.5). They are in the lower hex digit. */
function knownFlags(digit: number): string {
  return flags[(digit < lowerA ? digit : digit - lowerA + 10) & 3]!;
}

const lowerA = 0x61;
const flags = ['00', '01', '02', '03'];

/** Whether `field` is `version-traceid-parentid-flags` in lower-case hex, neither id all zeros (sections 3.2.2.2 to 3.2.2.5). */
function isTraceparent(field: string): boolean {
  const { length } = field;
  if (length < 55 || field.charCodeAt(2) !== dash || field.charCodeAt(35) !== dash || field.charCodeAt(52) !== dash) return false;
  if (kindOf(field, 3, 35) !== hex || kindOf(field, 36, 52) !== hex || kindOf(field, 0, 2) > hex || kindOf(field, 53, 55) > hex) return false;
  if (field.startsWith('ff')) return false;
  // Version 00 has exactly four parts; only later versions may append to it.
  return length === 55 || (field.charCodeAt(55) === dash && !field.startsWith('00'));
}

const dash = 0x2d;
/** Of a text: zeros alone are 0, hex digits that are not all zeros are 1, whatever else is more. */
const hex = 1;
/** By character, so that no branch depends on digits that are drawn by chance. */
const kinds = new Uint8Array(256).fill(2);
for (const digit of '123456789abcdef') kinds[digit.charCodeAt(0)] = hex;
kinds['0'.charCodeAt(0)] = 0;

function kindOf(text: string, from: number, to: number): number {
  let kind = 0;
  for (let index = from; index < to; index++) kind |= kinds[text.charCodeAt(index)] ?? 2;
  return kind;
}

export function formatTraceparent(trace: TraceContext): string {
  return '00-' + trace.traceId + '-' + trace.spanId + '-' + trace.flags;
}

const idBytes = 40;
/** Random bytes are drawn in blocks: one system call for each id would cost 3 µs. Digits are not: whoever keeps one id would keep the block. */
const pool = Buffer.allocUnsafeSlow(idBytes * 400);
let used = pool.length;

/** 80 lower-case hex digits of cryptographic quality: enough for a trace, a span and a request, drawn at once. */
export function newIds(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += idBytes;
  return hexText(pool, used - idBytes, used);
}
