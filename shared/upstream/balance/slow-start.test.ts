import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TestUpstream } from '../../../tests/support/upstream.js';
import { warmth } from './slow-start.js';

const [a, b, c] = ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80'] as const;

describe('warmth', () => {
  const cases: readonly (readonly [name: string, config: { window: number; minWeight: number; aggression: number }, ageMs: number, part: number])[] = [
    ['is the least weight at first', { window: 30_000, minWeight: 10, aggression: 1 }, 0, 0.1],
    ['counts a second at once', { window: 5_000, minWeight: 10, aggression: 1 }, 0, 0.2],
    ['grows evenly', { window: 30_000, minWeight: 10, aggression: 1 }, 15_000, 0.5],
    ['grows fast at first with more aggression', { window: 30_000, minWeight: 10, aggression: 2 }, 7_500, 0.5],
    ['grows slowly at first with less', { window: 30_000, minWeight: 1, aggression: 0.5 }, 15_000, 0.25],
    ['is whole at the end of the window', { window: 30_000, minWeight: 10, aggression: 1 }, 30_000, 1],
    ['is whole at once in a window shorter than a second', { window: 500, minWeight: 10, aggression: 1 }, 0, 1],
  ];
  for (const [name, config, ageMs, part] of cases) test(name, () => assert.equal(warmth(config, ageMs), part));
});

for (const algorithm of ['peak-ewma', 'least-request', 'round-robin', 'random']) {
  describe(`slow start, ${algorithm}`, () => {
    const balance = { algorithm, slowStart: { window: '30s' } };
    const shareOf = async (origin: TestUpstream, address: string): Promise<number> => ((await origin.count(4_000))[address] ?? 0) / 4_000;

    test('lets the share of a new endpoint grow from a tenth to the whole', async () => {
      const origin = new TestUpstream([a, b], { balance });
      await origin.clock.advance(60_000);
      origin.setEndpoints([a, b, c]);
      const shares: number[] = [];
      for (const step of [0, 15_000, 15_000]) {
        await origin.clock.advance(step);
        shares.push(await shareOf(origin, c));
      }
      // 0.1 of 2.1, 0.5 of 2.5, 1 of 3.
      [0.0476, 0.2, 0.3333].forEach((expected, index) => assert.ok(Math.abs(shares[index]! - expected) < 0.03, shares.join(', ')));
    });

    test('begins anew when an endpoint is healthy again, and for nobody else', async () => {
      const origin = new TestUpstream([a, b], { balance });
      await origin.clock.advance(60_000);
      origin.endpoint(a).health.object('outlier');
      await origin.clock.advance(60_000);
      origin.endpoint(a).health.withdraw('outlier');
      assert.ok(Math.abs((await shareOf(origin, a)) - 1 / 11) < 0.03);
      await origin.clock.advance(30_000);
      assert.ok(Math.abs((await shareOf(origin, a)) - 0.5) < 0.03);
    });
  });
}

test('slow start changes nothing between endpoints that began together, nor for one that a new configuration takes over', async () => {
  const balance = { algorithm: 'round-robin', slowStart: { window: '30s' } };
  const origin = new TestUpstream([a, b], { balance });
  assert.deepEqual(await origin.count(100), { [a]: 50, [b]: 50 });
  await origin.clock.advance(60_000);
  const next = new TestUpstream([a, b], { balance: { algorithm: 'round-robin', slowStart: { window: '60s' } }, previous: origin });
  assert.deepEqual(next.upstream.members.map(({ endpoint }) => endpoint.availableSince), [0, 0]);
});

test('without slow start a new endpoint has its whole weight at once', async () => {
  const origin = new TestUpstream([a], { balance: { algorithm: 'round-robin' } });
  await origin.clock.advance(60_000);
  origin.setEndpoints([a, b]);
  assert.deepEqual(await origin.count(100), { [a]: 50, [b]: 50 });
});
