import { randomFillSync } from 'node:crypto';

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

const traceparent = /^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/;

/** Continues the trace of a `traceparent` field; a missing or malformed one starts a new trace. The new ids are cut from `ids`. */
export function continueTrace(field: string | undefined, ids = newIds()): TraceContext {
  const match = field === undefined ? null : traceparent.exec(field);
  // Version 00 has exactly four parts; only later versions may append to it (section 3.2.2.1).
  if (match === null || (field!.startsWith('00') && field!.length !== 55)) {
    return { traceId: ids.slice(0, 32), spanId: ids.slice(32, 48), parentSpanId: undefined, flags: '01' };
  }
  return { traceId: match[1]!, spanId: ids.slice(32, 48), parentSpanId: match[2]!, flags: match[3]! };
}

export function formatTraceparent(trace: TraceContext): string {
  return `00-${trace.traceId}-${trace.spanId}-${trace.flags}`;
}

const idBytes = 40;
/** Random bytes are drawn in blocks: one system call for each id would cost 3 µs. */
const pool = Buffer.allocUnsafeSlow(idBytes * 400);
let used = pool.length;

/** 80 lower-case hex digits of cryptographic quality: enough for a trace, a span and a request, drawn at once. */
export function newIds(): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += idBytes;
  return pool.hexSlice(used - idBytes, used);
}
