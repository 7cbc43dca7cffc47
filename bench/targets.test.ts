import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Table } from './jobs.js';
import type { Row } from './measure.js';
import { judge, standing } from './targets.js';

const row = (name: string, figures: Partial<Row>): Row => ({ name, log: 'on', cpuMicros: 40, cpus: 1, rate: 10_000, p50: 1, p90: 1, p99: 1, residentBytes: 1e6, leastShare: 1, late: 0, ...figures });
const table = (...rows: readonly Row[]): Table => ({ title: '', load: '', rows, missing: [] });

test('the edge is judged by tokens that were seen before, and shown with new ones', () => {
  const verdicts = judge({ edge: table(row('gateway', { cpuMicros: 40 }), row('haproxy', { cpuMicros: 60 })), edgeNewTokens: table(row('gateway', { cpuMicros: 300 }), row('haproxy', { cpuMicros: 100 })) });
  assert.deepEqual(verdicts.map((verdict) => [verdict.job, verdict.measured.toFixed(2), standing(verdict)]), [['edge, tokens seen before', '0.67', 'reached'], ['edge, each token new', '3.00', '']]);
});

const one = row('gateway, 1 worker', { cpuMicros: 40, rate: 10_000 });
const scalings: readonly (readonly [name: string, two: Partial<Row>, expected: string])[] = [
  ['that share evenly and cost no more', { cpuMicros: 40, rate: 13_000, leastShare: 0.49 }, 'aim'],
  ['that share evenly and cost a fifth more', { cpuMicros: 48, rate: 9_000, leastShare: 0.41 }, 'not reached'],
  ['of which one is idle', { cpuMicros: 40, rate: 10_000, leastShare: 0 }, 'not sound'],
];
for (const [name, figures, expected] of scalings) {
  test(`two workers ${name}: ${expected}, beside what they share and serve`, () => {
    const [scaling, share, rate] = judge({ workers: table(one, row('gateway, 2 workers', figures)) });
    assert.equal(standing(scaling!), expected);
    assert.deepEqual([share!.measured, rate!.measured], [figures.leastShare! * 100, figures.rate! / 10_000]);
    assert.deepEqual([standing(share!), standing(rate!)], ['', '']);
  });
}

test('added latency counts only where the load was sent in time, directly and by way of ours', () => {
  const judged = (own: number, direct: number): string[] => judge({ addedByHop: table(row('direct', { p99: 0.2, late: direct }), row('gateway', { p99: 0.5, late: own })) }).map(standing);
  assert.deepEqual([judged(0.005, 0.005), judged(0.006, 0), judged(0, 0.006)], [['aim'], ['not sound'], ['not sound']]);
});
