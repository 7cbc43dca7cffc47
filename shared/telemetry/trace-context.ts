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
  /** Two hex digits; bit 0 is `sampled`. */
  readonly flags: string;
}

/** Continues the trace of a `traceparent` field; a missing or malformed one starts a new trace. The new ids are cut from `ids`. */
export function continueTrace(field: string | undefined, ids = newIds()): TraceContext {
  const spanId = ids.slice(32, 48);
  if (field === undefined || !isTraceparent(field)) return { traceId: ids.slice(0, 32), spanId, parentSpanId: undefined, flags: '01' };
  return { traceId: field.slice(3, 35), spanId, parentSpanId: field.slice(36, 52), flags: field.slice(53, 55) };
}

/** Whether `field` is `version-traceid-parentid-flags` in lower-case hex, neither id all zeros (sections 3.2.2.2 to 3.2.2.5). */
function isTraceparent(field: string): boolean {
  const { length } = field;
  if (length < 55 || !isHex(field, 0, 2) || !isHex(field, 3, 35) || !isHex(field, 36, 52) || !isHex(field, 53, 55)) return false;
  if (field.charCodeAt(2) !== dash || field.charCodeAt(35) !== dash || field.charCodeAt(52) !== dash) return false;
  if (isZero(field, 3, 35) || isZero(field, 36, 52) || field.startsWith('ff')) return false;
  // Version 00 has exactly four parts; only later versions may append to it.
  return length === 55 || (field.charCodeAt(55) === dash && !field.startsWith('00'));
}

function isHex(text: string, from: number, to: number): boolean {
  for (let index = from; index < to; index++) {
    const code = text.charCodeAt(index);
    if (code < zero || code > lowerF || (code > nine && code < lowerA)) return false;
  }
  return true;
}

function isZero(text: string, from: number, to: number): boolean {
  for (let index = from; index < to; index++) if (text.charCodeAt(index) !== zero) return false;
  return true;
}

const dash = 0x2d;
const zero = 0x30;
const nine = 0x39;
const lowerA = 0x61;
const lowerF = 0x66;

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
