import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { balanceSchema } from '../../config/balance.js';
import { randomFrom } from '../../../tests/conformance/generate-case.js';
import { exchange, request } from '../../../tests/support/policy.js';
import { chiSquare, chiSquareLimit, TestUpstream } from '../../../tests/support/upstream.js';
import { PeakEwma } from '../peak-ewma.js';
import { balancer, type Candidate } from './balancer.js';
import { weightedDraw } from './weighted-draw.js';

describe('a weighted draw', () => {
  const cases: readonly (readonly [name: string, weights: readonly number[]])[] = [
    ['equal weights', [1, 1, 1, 1, 1]],
    ['one that is heavy', [1, 1, 1, 997]],
    ['all different', [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]],
    ['fractions, as slow start makes them', [0.1, 1, 0.55, 3.3]],
    ['a thousand', Array.from({ length: 1_000 }, (_, index) => 1 + (index % 7))],
  ];
  for (const [name, weights] of cases) {
    test(`follows the weights: ${name}`, () => {
      const draws = 200_000;
      const draw = weightedDraw(weights.map((weight) => ({ weight })), randomFrom(7));
      const counts = Array<number>(weights.length).fill(0);
      for (let index = 0; index < draws; index++) counts[draw()]!++;
      const total = weights.reduce((sum, weight) => sum + weight, 0);
      const deviation = chiSquare(counts, weights.map((weight) => (weight * draws) / total));
      assert.ok(deviation < chiSquareLimit(weights.length - 1), `chi-square ${deviation}`);
    });
  }
});

describe('turns', () => {
  test('of equal weights come strictly one after the other', async () => {
    const addresses = ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80'];
    const origin = new TestUpstream(addresses, { balance: { algorithm: 'round-robin' } });
    const turns: string[] = [];
    for (let index = 0; index < 9; index++) turns.push(await origin.send());
    assert.equal(new Set(turns.slice(0, 3)).size, 3);
    assert.deepEqual(turns.slice(3, 6), turns.slice(0, 3));
  });

  test('of a heavy endpoint are spread, not taken in a row', async () => {
    const origin = new TestUpstream([{ address: '10.0.0.1:80', weight: 5 }, '10.0.0.2:80', '10.0.0.3:80', '10.0.0.4:80', '10.0.0.5:80', '10.0.0.6:80'], { balance: { algorithm: 'round-robin' } });
    let inARow = 0;
    for (let index = 0; index < 1_000; index++) {
      inARow = (await origin.send()) === '10.0.0.1:80' ? inARow + 1 : 0;
      assert.ok(inARow <= 2);
    }
  });
});

/** Endpoints with one queue each, on virtual time: requests come at random, are served in order, and are timed. */
function simulate(algorithm: string, meanServiceMs: readonly number[], { perSecond, requests, seed }: { readonly perSecond: number; readonly requests: number; readonly seed: number }): { p99: number; counts: number[] } {
  const random = randomFrom(seed);
  const exponential = (mean: number): number => -mean * Math.log(1 - random());
  let now = 0;
  const choose = balancer(balanceSchema.parse({ algorithm }), { random, clock: { now: () => now } });
  const servers = meanServiceMs.map((mean, index) => ({ name: String(index), weight: 1, latency: new PeakEwma(), freeAt: 0, inFlight: 0, mean, served: 0 }));
  const candidates: readonly (Candidate & (typeof servers)[number])[] = servers;
  const chooser = choose.prepare(candidates, candidates);
  const over: { at: number; startedAt: number; server: (typeof servers)[number] }[] = [];
  const latencies: number[] = [];
  const one = exchange();
  const get = request(one);
  for (let sent = 0; sent < requests; sent++) {
    now += exponential(1_000 / perSecond);
    over.sort((left, right) => left.at - right.at);
    while (over.length > 0 && over[0]!.at <= now) {
      const { at, startedAt, server } = over.shift()!;
      server.inFlight--;
      server.latency.observe(at - startedAt, at);
      server.latency.ended();
      latencies.push(at - startedAt);
    }
    const server = chooser(get, one, [])!;
    server.freeAt = Math.max(now, server.freeAt) + exponential(server.mean);
    server.inFlight++;
    server.latency.began(now);
    server.served++;
    over.push({ at: server.freeAt, startedAt: now, server });
  }
  latencies.sort((left, right) => left - right);
  return { p99: latencies[Math.floor(latencies.length * 0.99)]!, counts: servers.map(({ served }) => served) };
}

describe('one slow endpoint of three', () => {
  for (const seed of [1, 2, 3]) {
    test(`peak-ewma has a fraction of round-robin’s p99, and least-request lies between (seed ${seed})`, () => {
      const load = { perSecond: 24, requests: 20_000, seed };
      const meanServiceMs = [10, 10, 100];
      const turns = simulate('round-robin', meanServiceMs, load);
      const fewest = simulate('least-request', meanServiceMs, load);
      const fastest = simulate('peak-ewma', meanServiceMs, load);
      assert.ok(fastest.p99 < turns.p99 / 5, `${fastest.p99} and ${turns.p99}`);
      assert.ok(fastest.p99 < fewest.p99 && fewest.p99 < turns.p99, `${fastest.p99}, ${fewest.p99} and ${turns.p99}`);
      assert.ok(fastest.counts[2]! > 0, 'the slow one is asked now and then, or nobody would see it recover');
    });
  }
});

describe('one endpoint that hangs, after a time in which nobody asked', () => {
  for (const quietMs of [0, 60_000, 7_200_000, 30_000_000]) {
    test(`is not taken for the fastest: ${quietMs / 1_000} s`, () => {
      let now = 0;
      const choose = balancer(balanceSchema.parse({ algorithm: 'peak-ewma' }), { random: randomFrom(1), clock: { now: () => now } });
      const endpoints = ['hangs', 'well'].map((name) => ({ name, weight: 1, latency: new PeakEwma(), inFlight: 0 }));
      for (const { latency } of endpoints) latency.observe(20, 0);
      now = quietMs;
      const chooser = choose.prepare(endpoints, endpoints);
      const one = exchange();
      let hanging = 0;
      for (let sent = 0; sent < 1_000; sent++) {
        const endpoint = chooser(request(one), one, [])!;
        endpoint.latency.began(now);
        endpoint.inFlight++;
        now += 10;
        if (endpoint.name === 'hangs') {
          hanging++;
          continue;
        }
        endpoint.inFlight--;
        endpoint.latency.observe(10, now);
        endpoint.latency.ended();
      }
      assert.ok(hanging < 10, `${hanging} of 1000`);
    });
  }
});

describe('a light canary', () => {
  test('that answers fastest gets no more than twice its share, and one that answers slowest gets less than it', async () => {
    for (const [latencyMs, least, most] of [[1, 0.05, 0.1], [500, 0, 0.05]] as const) {
      const origin = new TestUpstream([{ address: '10.0.0.1:80', weight: 95 }, { address: '10.0.0.2:80', weight: 5 }]);
      const { latency } = origin.endpoint('10.0.0.2:80');
      let canary = 0;
      for (let index = 0; index < 10_000; index++) {
        latency.reset();
        latency.observe(latencyMs, origin.clock.now());
        if ((await origin.send()) === '10.0.0.2:80') canary++;
      }
      assert.ok(canary / 10_000 > least && canary / 10_000 < most, `${canary} of 10000 at ${latencyMs} ms`);
    }
  });
});
