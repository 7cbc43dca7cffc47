import { build as buildHistogram, type Histogram } from 'hdr-histogram-js';
import { performance } from 'node:perf_hooks';
import { Pool } from 'undici';
import { seededRandom } from '../services/fault.js';
import { clientFor, type LoadClient } from './clients.js';
import { sliceMs, type ClassResult, type Latency, type LoadResult, type LoadSpec, type Slice, type TrafficClass } from './spec.js';

const defaultMaxInFlight = 2_000;
const defaultTimeoutMs = 5_000;
const connectionsPerTarget = 128;

/**
 * Sends requests at a constant rate whatever becomes of them (an open loop), and measures each from the time at which it
 * should have been sent. A generator that waits for answers before it goes on sends less when the system is slow, and so
 * leaves out of its figures the very requests that would have waited (coordinated omission).
 *
 * @param onBegin Told when measuring begins, after the warm-up, by the clock of `performance.now()`.
 */
export async function generate(spec: LoadSpec, onBegin?: (begunAt: number) => void): Promise<LoadResult> {
  const run = new Run(spec);
  onBegin?.(run.begunAt);
  try {
    return await run.finished();
  } finally {
    await run.close();
  }
}

interface Counters {
  readonly traffic: TrafficClass;
  offered: number;
  sent: number;
  succeeded: number;
  dropped: number;
  /** Answers that came within the measured time, and those below 400. */
  answeredInTime: number;
  succeededInTime: number;
  readonly statuses: Map<string, number>;
  readonly errors: Map<string, number>;
  readonly latency: Histogram;
  readonly successLatency: Histogram;
  /** Requests that were due so far, warm-up included. */
  due: number;
}

class Run {
  readonly #spec: LoadSpec;
  readonly #pools = new Map<string, Pool>();
  readonly #clients = new Map<TrafficClass, LoadClient>();
  readonly #counters: Counters[];
  readonly #slices: Slice[];
  readonly #lateness = histogram();
  readonly #random: () => number;
  readonly #startedAt: number;
  #inFlight = 0;
  #resolve!: (result: LoadResult) => void;
  readonly #result = new Promise<LoadResult>((resolve) => (this.#resolve = resolve));
  #isOver = false;

  constructor(spec: LoadSpec) {
    this.#spec = spec;
    this.#random = seededRandom(spec.seed);
    this.#counters = spec.classes.map((traffic) => ({
      traffic, ...noneYet(), due: 0,
    }));
    this.#slices = Array.from({ length: Math.ceil(spec.durationMs / sliceMs) }, (_, index) => ({ atMs: index * sliceMs, offered: 0, succeeded: 0, failed: 0, maxMs: 0 }));
    const timeout = spec.timeoutMs ?? defaultTimeoutMs;
    for (const traffic of spec.classes) {
      const client = clientFor(traffic, timeout);
      if (client !== undefined) this.#clients.set(traffic, client);
    }
    for (const target of spec.classes.flatMap((traffic) => (this.#clients.has(traffic) ? [] : traffic.targets))) {
      if (!this.#pools.has(target)) this.#pools.set(target, new Pool(target, { connections: connectionsPerTarget, headersTimeout: timeout, bodyTimeout: timeout, connect: { timeout } }));
    }
    this.#startedAt = performance.now();
    this.#tick();
  }

  get begunAt(): number {
    return this.#startedAt + this.#spec.warmupMs;
  }

  finished(): Promise<LoadResult> {
    return this.#result;
  }

  async close(): Promise<void> {
    for (const client of this.#clients.values()) client.close();
    await Promise.all([...this.#pools.values()].map((pool) => pool.destroy()));
  }

  /** Sends whatever is due, a millisecond at a time. */
  #tick(): void {
    const elapsed = performance.now() - this.#startedAt;
    const total = this.#spec.warmupMs + this.#spec.durationMs;
    for (const counters of this.#counters) {
      const intervalMs = 1_000 / counters.traffic.rate;
      for (let dueAt = counters.due * intervalMs; dueAt <= elapsed && dueAt < total; dueAt = counters.due * intervalMs) {
        this.#send(counters, dueAt);
        counters.due++;
      }
    }
    if (elapsed < total) setTimeout(() => this.#tick(), 1);
    else this.#end();
  }

  #end(): void {
    this.#isOver = true;
    if (this.#inFlight === 0) this.#resolve(this.#summary());
  }

  #send(counters: Counters, dueAt: number): void {
    const { traffic } = counters;
    const measuredAt = dueAt - this.#spec.warmupMs;
    const isMeasured = measuredAt >= 0;
    const slice = isMeasured ? this.#slices[Math.floor(measuredAt / sliceMs)] : undefined;
    if (isMeasured) counters.offered++;
    if (slice !== undefined) slice.offered++;
    if (this.#inFlight >= (this.#spec.maxInFlight ?? defaultMaxInFlight)) {
      if (isMeasured) counters.dropped++;
      if (slice !== undefined) slice.failed++;
      return;
    }
    if (isMeasured) {
      counters.sent++;
      this.#lateness.recordValue(inMicros(performance.now() - this.#startedAt - dueAt));
    }
    this.#inFlight++;
    const target = traffic.targets[counters.due % traffic.targets.length]!;
    const headers = traffic.headers?.[Math.floor(this.#random() * traffic.headers.length)] ?? {};
    const finish = (status: number, error: string | undefined): void => {
      const elapsed = performance.now() - this.#startedAt;
      if (isMeasured) record(counters, slice, status, error, elapsed - dueAt);
      if (error === undefined && this.#isWithin(elapsed)) {
        counters.answeredInTime++;
        if (isGood(status)) counters.succeededInTime++;
      }
      this.#inFlight--;
      if (this.#isOver && this.#inFlight === 0) this.#resolve(this.#summary());
    };
    const client = this.#clients.get(traffic);
    if (client !== undefined) return void client.send(headers).then((error) => finish(error === undefined ? 200 : 0, error));
    const leaving = traffic.leaveAfterMs === undefined ? undefined : AbortSignal.timeout(traffic.leaveAfterMs);
    this.#pools.get(target)!.request({ method: traffic.method ?? 'GET', path: traffic.path, headers, ...(leaving && { signal: leaving }), ...(traffic.body !== undefined && { body: traffic.body }) }).then(
      ({ statusCode, body }) => body.dump().then(() => finish(statusCode, undefined), () => finish(0, 'truncated')),
      (error: unknown) => finish(0, leaving?.aborted === true ? 'left' : ((error as { code?: string }).code ?? 'unknown')),
    );
  }

  /** Whether a time since the start is within the measured time. */
  #isWithin(elapsed: number): boolean {
    const { warmupMs, durationMs } = this.#spec;
    return elapsed >= warmupMs && elapsed <= warmupMs + durationMs;
  }

  #summary(): LoadResult {
    const { durationMs } = this.#spec;
    const classes = this.#counters.map((counters) => toResult(counters, durationMs));
    const all = toResult(merge(this.#counters), durationMs);
    return {
      durationMs,
      offeredRate: perSecond(all.offered, durationMs),
      achievedRate: all.achievedRate,
      lateness: summarise(this.#lateness),
      classes,
      all,
      slices: this.#slices,
    };
  }
}

/** Microseconds from 1 to 60 s, to three digits. */
function histogram(): Histogram {
  return buildHistogram({ lowestDiscernibleValue: 1, highestTrackableValue: 60_000_000, numberOfSignificantValueDigits: 3, useWebAssembly: false });
}

function noneYet(): Omit<Counters, 'traffic' | 'due'> {
  return {
    offered: 0, sent: 0, succeeded: 0, dropped: 0, answeredInTime: 0, succeededInTime: 0, statuses: new Map<string, number>(), errors: new Map<string, number>(), latency: histogram(), successLatency: histogram(),
  };
}

function inMicros(ms: number): number {
  return Math.min(60_000_000, Math.max(1, Math.round(ms * 1_000)));
}

function perSecond(count: number, durationMs: number): number {
  return (count / durationMs) * 1_000;
}

function isGood(status: number): boolean {
  return status > 0 && status < 400;
}

function record(counters: Counters, slice: Slice | undefined, status: number, error: string | undefined, ms: number): void {
  const micros = inMicros(ms);
  counters.latency.recordValue(micros);
  if (isGood(status)) {
    counters.succeeded++;
    counters.successLatency.recordValue(micros);
  }
  if (error === undefined) counters.statuses.set(String(status), (counters.statuses.get(String(status)) ?? 0) + 1);
  else counters.errors.set(error, (counters.errors.get(error) ?? 0) + 1);
  if (slice === undefined) return;
  if (isGood(status)) slice.succeeded++;
  else slice.failed++;
  slice.maxMs = Math.max(slice.maxMs, ms);
}

function merge(all: readonly Counters[]): Counters {
  const merged: Counters = { traffic: { ...all[0]!.traffic, name: 'all' }, ...noneYet(), due: 0 };
  for (const counters of all) {
    merged.offered += counters.offered;
    merged.sent += counters.sent;
    merged.succeeded += counters.succeeded;
    merged.dropped += counters.dropped;
    merged.answeredInTime += counters.answeredInTime;
    merged.succeededInTime += counters.succeededInTime;
    for (const [status, count] of counters.statuses) merged.statuses.set(status, (merged.statuses.get(status) ?? 0) + count);
    for (const [error, count] of counters.errors) merged.errors.set(error, (merged.errors.get(error) ?? 0) + count);
    merged.latency.add(counters.latency);
    merged.successLatency.add(counters.successLatency);
  }
  return merged;
}

function toResult({ traffic, offered, sent, succeeded, dropped, answeredInTime, succeededInTime, statuses, errors, latency, successLatency }: Counters, durationMs: number): ClassResult {
  return {
    name: traffic.name, offered, sent, succeeded, dropped, achievedRate: perSecond(answeredInTime, durationMs), succeededRate: perSecond(succeededInTime, durationMs),
    statuses: Object.fromEntries(statuses), errors: Object.fromEntries(errors), latency: summarise(latency), successLatency: summarise(successLatency),
  };
}

function summarise(histogram: Histogram): Latency {
  const ms = (micros: number): number => Math.round(micros) / 1_000;
  const at = (percentile: number): number => ms(histogram.totalCount === 0 ? 0 : histogram.getValueAtPercentile(percentile));
  return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: ms(histogram.totalCount === 0 ? 0 : histogram.maxValue), mean: ms(histogram.totalCount === 0 ? 0 : histogram.mean) };
}
