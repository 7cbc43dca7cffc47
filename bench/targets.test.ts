import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Table } from './jobs.js';
import type { Row } from './measure.js';
import { judge, standing } from './targets.js';

const row = (name: string, figures: Partial<Row>): Row => ({ name, log: 'on', cpuMicros: 40, cpus: 1, rate: 10_000, p50: 1, p90: 1, p99: 1, residentBytes: 1e6, ...figures });
const table = (...rows: readonly Row[]): Table => ({ title: '', load: '', rows, missing: [] });

test('the edge is judged by tokens that were seen before, and shown with new ones', () => {
  const verdicts = judge({ edge: table(row('gateway', { cpuMicros: 40 }), row('haproxy', { cpuMicros: 60 })), edgeNewTokens: table(row('gateway', { cpuMicros: 300 }), row('haproxy', { cpuMicros: 100 })) });
  assert.deepEqual(verdicts.map((verdict) => [verdict.job, verdict.measured.toFixed(2), standing(verdict)]), [['edge, tokens seen before', '0.67', 'reached'], ['edge, each token new', '3.00', '']]);
});
