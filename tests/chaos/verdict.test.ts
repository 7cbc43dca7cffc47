import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ChaosReport, SubjectReport } from './chaos.js';
import { settleMs } from './schedule.js';
import type { Stall } from './stall-watch.js';
import { violations } from './verdict.js';

const stall: Stall = { fromMs: 5_000, toMs: 6_000 };

function report(stalls: readonly Stall[], subject: Partial<SubjectReport> = {}): ChaosReport {
  const quiet: SubjectReport = { name: 'gateway', sent: 1_000, failures: [], retries: 5, refusedRetries: 0, ejections: 1, handles: { before: 20, after: 20 }, leftOver: 0, grownBytes: 0, exitCode: 0 };
  return { seconds: 30, seed: 1, schedule: [], stalls, subjects: [{ ...quiet, ...subject }], unprotected: { sent: 100, failed: 20 } };
}

const failedAt = (atMs: number, flags = 'UH'): Partial<SubjectReport> => ({ failures: [{ atMs, endMs: atMs + 10, method: 'GET', path: '/chaos/1', what: '503 no_endpoint', log: `{"flags":"${flags}"}` }] });

describe('the verdict on a chaos run', () => {
  for (const [name, atMs, isExcused] of [
    ['before the machine stood still', 4_900, false],
    ['while it did', 5_500, true],
    ['until endpoints can be known to be well again', stall.toMs + settleMs - 1, true],
    ['later', stall.toMs + settleMs, false],
  ] as const) {
    test(`a failure ${name} is ${isExcused ? 'excused' : 'a violation'}`, () => assert.equal(violations(report([stall], failedAt(atMs))).length, isExcused ? 0 : 1));
  }

  for (const [name, flags, afterMs, isExcused] of [
    ['whose retry the budget refused, for as long as what the machine caused counts', 'UT,UO', 9_999, true],
    ['whose retry the budget refused, later', 'UT,UO', 10_000, false],
    ['all of whose attempts were made', 'UO,URX', 9_999, false],
    ['whose retry nothing refused', 'UT', 9_999, false],
  ] as const) {
    test(`a failure ${name}, is ${isExcused ? 'excused' : 'a violation'}`, () => assert.equal(violations(report([stall], failedAt(stall.toMs + afterMs, flags))).length, isExcused ? 0 : 1));
  }

  test('a failure whose retry the budget refused is a violation on a machine that went on', () => assert.equal(violations(report([], failedAt(5_500, 'UT,UO'))).length, 1));

  test('a failure on a machine that went on is a violation', () => assert.match(violations(report([], failedAt(5_500)))[0]!, /failed at 5\.50 s, though an endpoint was well/));

  test('retries that the budget refused are one, unless the machine stood still', () => {
    assert.match(violations(report([], { refusedRetries: 3 }))[0]!, /the budget refused 3 retries/);
    assert.deepEqual(violations(report([stall], { refusedRetries: 3 })), []);
  });
});
