import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { adaptiveConcurrencySchema } from '../../config/resilience.js';
import { seeded } from '../../../tests/support/seeded.js';
import { AdaptiveLimit, type Lesson } from './adaptive-limit.js';

interface Load {
  /** Requests that the service can work on at a time; the rest waits in line. */
  readonly workers: number;
  /** Mean time of its work (ms), at a time. */
  readonly serviceMs: (now: number) => number;
  /** Requests a second that arrive, Poisson. */
  readonly rate: (now: number) => number;
  readonly seconds: number;
  readonly config?: object;
  /** Without one nothing is shed. */
  readonly limited?: boolean;
  /** Requests that take longer were of no use to their caller (ms). */
  readonly usefulMs: number;
}

interface Report {
  readonly limit: number;
  readonly baseline: number | undefined;
  /** Of what was served in the last half. */
  readonly p50: number;
  readonly p99: number;
  /** Answers in time, a second, in the last half. */
  readonly goodput: number;
  readonly shedShare: number;
}

/** A queue with several servers in virtual time, behind a limit. Pure events, seeded. */
function simulate({ workers, serviceMs, rate, seconds, config = {}, limited = true, usefulMs }: Load): Report {
  const random = seeded(2_026);
  const exponential = (mean: number): number => -Math.log(1 - random()) * mean;
  const limit = new AdaptiveLimit(adaptiveConcurrencySchema.parse(config), random, 0);
  const end = seconds * 1_000;
  const latencies: number[] = [];
  let [good, offered, shed, busy] = [0, 0, 0, 0];
  const line: number[] = [];
  const completions: { at: number; startedAt: number }[] = [];
  const work = (startedAt: number, now: number): void => {
    busy++;
    // Half of the work is always the same, half varies.
    const at = now + serviceMs(now) * 0.5 + exponential(serviceMs(now) * 0.5);
    const index = completions.findIndex((other) => other.at > at);
    completions.splice(index === -1 ? completions.length : index, 0, { at, startedAt });
  };
  let nextArrival = 0;
  for (;;) {
    const completion = completions[0];
    if (completion !== undefined && completion.at <= nextArrival) {
      completions.shift();
      busy--;
      const { at, startedAt } = completion;
      if (limited) limit.leave(startedAt, at, 'answered');
      if (at > end / 2) {
        latencies.push(at - startedAt);
        if (at - startedAt <= usefulMs) good++;
      }
      const waiting = line.shift();
      if (waiting !== undefined) work(waiting, at);
      continue;
    }
    const now = nextArrival;
    if (now > end) break;
    nextArrival = now + exponential(1_000 / rate(now));
    if (now > end / 2) offered++;
    if (limited && !limit.tryEnter(1, now)) {
      if (now > end / 2) shed++;
    } else if (busy < workers) work(now, now);
    else line.push(now);
  }
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor(latencies.length * share)]!;
  return { limit: limit.limit, baseline: limit.baselineMs, p50: at(0.5), p99: at(0.99), goodput: good / (seconds / 2), shedShare: shed / offered };
}

const service = { workers: 10, serviceMs: () => 10, seconds: 120, usefulMs: 50 };
/** 10 workers at 10 ms: 1,000 requests a second. */
const capacity = 1_000;

describe('AdaptiveLimit in a simulation (seeded)', () => {
  for (const overload of [1.2, 2, 5]) {
    test(`at ${overload} times its capacity the limit settles near what the service can take, latency stays, and so does what is of use`, () => {
      const report = simulate({ ...service, rate: () => capacity * overload });
      assert.ok(report.limit >= 10 && report.limit <= 40, JSON.stringify(report));
      assert.ok(report.p50 < 30, JSON.stringify(report));
      assert.ok(report.p99 < 50, JSON.stringify(report));
      assert.ok(report.goodput > 0.9 * capacity, JSON.stringify(report));
    });
  }

  test('without it the same overload leaves nothing of use', () => {
    const report = simulate({ ...service, seconds: 30, rate: () => capacity * 1.5, limited: false });
    assert.ok(report.goodput < 0.01 * capacity, JSON.stringify(report));
    assert.ok(report.p50 > 1_000, JSON.stringify(report));
  });

  test('below capacity nothing is shed', () => {
    for (const load of [0.3, 0.7]) {
      const report = simulate({ ...service, rate: () => capacity * load });
      assert.ok(report.shedShare < 0.002, `${load}: ${JSON.stringify(report)}`);
    }
  });

  test('recovers its room after an overload has passed', () => {
    const report = simulate({ ...service, rate: (now) => capacity * (now < 40_000 ? 3 : 0.7) });
    assert.ok(report.shedShare < 0.01, JSON.stringify(report));
  });

  test('answers that take no time, or less, leave it a number', () => {
    for (const latency of [0, -1e-12]) {
      const limit = new AdaptiveLimit(adaptiveConcurrencySchema.parse({ maxLimit: 30 }), () => 0, 0);
      for (let now = 0; now < 20_000; now += 5) {
        while (limit.tryEnter(1, now)) continue;
        while (limit.inFlight > 0) limit.leave(now - latency, now, 'answered');
      }
      assert.ok(limit.limit >= 3 && limit.limit <= 30, `latency ${latency}: a limit of ${limit.limit}`);
    }
  });

  test('a service that turns slower for good under load is measured anew before its time, not choked', () => {
    const report = simulate({ ...service, serviceMs: (now) => (now < 20_000 ? 10 : 40), rate: () => capacity * 2, usefulMs: 200, seconds: 50 });
    assert.ok(report.baseline! > 30 && report.baseline! < 70, JSON.stringify(report));
    assert.ok(report.goodput > 0.85 * (capacity / 4), JSON.stringify(report));
  });

  test('follows a service that grows', () => {
    const report = simulate({ ...service, workers: 100, rate: () => 8_000, seconds: 30 });
    assert.ok(report.shedShare < 0.1 && report.limit >= 80, JSON.stringify(report));
  });
});

describe('AdaptiveLimit', () => {
  const make = (config: object = {}): AdaptiveLimit => new AdaptiveLimit(adaptiveConcurrencySchema.parse({ window: 0, remeasureInterval: '1h', ...config }), () => 0, 0);
  /** One window of ten requests at a time that all take `ms`. */
  const window = (limit: AdaptiveLimit, now: number, ms: number, count = 10, lesson: Lesson = 'answered'): number => {
    let entered = 0;
    for (let index = 0; index < count; index++) if (limit.tryEnter(1, now)) entered++;
    for (let index = 0; index < entered; index++) limit.leave(now, now + ms, lesson);
    return now + ms;
  };

  test('admits up to its limit, and a level up to its share of it', () => {
    const limit = make({ initialLimit: 10 });
    for (let index = 0; index < 5; index++) assert.ok(limit.tryEnter(0.5, 0));
    assert.equal(limit.tryEnter(0.5, 0), false);
    for (let index = 0; index < 5; index++) assert.ok(limit.tryEnter(1, 0));
    assert.equal(limit.tryEnter(1, 0), false);
    assert.equal(limit.inFlight, 10);
  });

  test('even the smallest share of the smallest limit lets one through', () => {
    assert.ok(make({ minLimit: 1, initialLimit: 1 }).tryEnter(0.01, 0));
  });

  test('does not grow while it is not used', () => {
    const limit = make({ initialLimit: 100 });
    for (let now = 0; now < 10_000; ) now = window(limit, now, 10, 20);
    assert.equal(limit.limit, 100);
  });

  test('stays within its bounds', () => {
    const limit = make({ minLimit: 5, maxLimit: 12, initialLimit: 10 });
    let now = 0;
    const bounds = new Set<number>();
    for (let index = 0; index < 200; index++) now = window(limit, now, 10, 12);
    bounds.add(limit.limit);
    for (let index = 0; index < 20; index++) {
      now = window(limit, now, 10_000, 12);
      bounds.add(limit.limit);
    }
    assert.deepEqual([Math.max(...bounds), Math.min(...bounds)], [12, 5]);
  });

  test('requests that run out of time lower it, those that teach nothing do not', () => {
    const limit = make({ initialLimit: 100 });
    let now = 0;
    for (let index = 0; index < 20; index++) now = window(limit, now, 10, 60);
    const before = limit.limit;
    for (let index = 0; index < 3; index++) now = window(limit, now, 1_000, 60, 'nothing');
    assert.equal(limit.limit, before);
    for (let index = 0; index < 3; index++) now = window(limit, now, 1, 60, 'timed-out');
    assert.equal(limit.limit, before, 'given up before it could have been answered');
    for (let index = 0; index < 3; index++) now = window(limit, now, 1_000, Math.ceil(before), 'timed-out');
    assert.ok(limit.limit < before / 2, `${before} became ${limit.limit}`);
  });

  test('a measurement in which nothing is answered ends, and the limit comes back', () => {
    const limit = make({ initialLimit: 40 });
    const limits: number[] = [];
    let now = 0;
    for (const [ms, count, lesson] of [[10, 40, 'answered'], [500, 3, 'nothing'], [600, 3, 'nothing']] as const) {
      now = window(limit, now, ms, count, lesson);
      limits.push(limit.limit);
    }
    assert.deepEqual(limits, [3, 3, 46]);
  });

  test('a measurement ends in its time also when nobody leaves, and the baseline stays', () => {
    const limit = make();
    for (let index = 0; index < 3; index++) assert.ok(limit.tryEnter(1, 0));
    const measuredAt = window(limit, 0, 10, 12);
    const { limit: measuring, baselineMs } = limit;
    assert.equal(limit.tryEnter(1, measuredAt + 999), false);
    assert.ok(limit.tryEnter(1, measuredAt + 1_000));
    assert.deepEqual([measuring, limit.limit, limit.baselineMs], [3, 24, baselineMs]);
  });
});
