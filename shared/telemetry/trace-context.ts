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

/** Continues the trace of a `traceparent` field; a missing or malformed one starts a new trace. */
export function continueTrace(field: string | undefined): TraceContext {
  const match = field === undefined ? null : traceparent.exec(field);
  // Version 00 has exactly four parts; only later versions may append to it (section 3.2.2.1).
  if (match === null || (field!.startsWith('00') && field!.length !== 55)) {
    return { traceId: randomHex(16), spanId: randomHex(8), parentSpanId: undefined, flags: '01' };
  }
  return { traceId: match[1]!, spanId: randomHex(8), parentSpanId: match[2]!, flags: match[3]! };
}

export function formatTraceparent(trace: TraceContext): string {
  return `00-${trace.traceId}-${trace.spanId}-${trace.flags}`;
}

/** Random bytes are drawn in blocks: one system call for each id would cost 3 µs. */
class RandomPool {
  readonly #pool = Buffer.allocUnsafe(4096);
  #used = this.#pool.length;

  hex(bytes: number): string {
    if (this.#used + bytes > this.#pool.length) {
      randomFillSync(this.#pool);
      this.#used = 0;
    }
    const from = this.#used;
    this.#used += bytes;
    return this.#pool.toString('hex', from, this.#used);
  }
}

const pool = new RandomPool();

/** `2 × bytes` lower-case hex digits of cryptographic quality. */
export function randomHex(bytes: number): string {
  return pool.hex(bytes);
}
