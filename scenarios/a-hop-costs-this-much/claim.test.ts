import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { placements, type Facts, type Placement } from '../runner/claim.js';
import { aHopCostsThisMuch } from './claim.js';

function facts(of: Partial<Record<Placement, Facts>>): Record<Placement, Facts> {
  const usual: Facts = { p50: 3, p90: 4, p99: 5, lateP99: 1, sent: 450, failed: 0, achievedRate: 150, proxyCpuMsPerRequest: 1, proxyMemory: 2 ** 20, proxies: 1 };
  return Object.fromEntries(placements.map((placement) => [placement, { ...usual, ...of[placement] }])) as unknown as Record<Placement, Facts>;
}

describe('what is said of the cost of a hop', () => {
  test('a median below that without a proxy is below it, not above by less than nothing', () => {
    const all = facts({ ambassador: { p50: 2.5, p99: 6 } });
    assert.match(aHopCostsThisMuch.sentences(all)[0]!, /the median was 0\.50 ms below the 3\.00 ms without a proxy, p99 1\.00 ms above 5\.00 ms/);
  });

  test('latencies of requests that were sent late are not compared, and nothing is proved by them', () => {
    const all = facts({ sidecar: { p50: 4, lateP99: 40 } });
    const [ambassador, sidecar] = aHopCostsThisMuch.sentences(all) as [string, string];
    assert.match(ambassador, /the median was/);
    assert.match(sidecar, /requests were sent up to 40\.0 ms late \(p99\), so that latencies cannot be compared/);
    const { holds, measured } = aHopCostsThisMuch.expectations.find(({ placement }) => placement === 'sidecar')!;
    assert.ok(!holds(all.sidecar, all));
    assert.match(measured(all.sidecar), /sent late by 40\.0 ms at p99/);
    assert.ok(holds({ ...all.sidecar, lateP99: 2 }, all));
  });
});
