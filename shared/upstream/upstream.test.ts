import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { ProxyError } from '../errors/proxy-error.js';
import { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { mergeUpstreams } from '../process/fleet/merge.js';
import { exchange } from '../../tests/support/policy.js';
import { TestUpstream } from '../../tests/support/upstream.js';
import { describeUpstream } from './describe-upstream.js';

const [a, b, c, d] = ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80', '10.0.0.4:80'] as const;
const e = '10.0.0.5:80';
const four = [a, b, c, d];
const turns = { algorithm: 'round-robin' };
const refusal = (code: string) => (error: unknown) => (error as ProxyError).code === code;

describe('endpoints that are exchanged', () => {
  test('are known by address: another weight, zone or label keeps connections, breaker and latency', () => {
    const origin = new TestUpstream([a, b]);
    const before = origin.upstream.endpoints;
    origin.setEndpoints([{ address: a, weight: 3, zone: 'x', priority: 1, labels: { version: 'v2' } }, b]);
    assert.deepEqual(origin.upstream.endpoints.map((endpoint, index) => endpoint === before[index]), [true, true]);
    assert.equal(origin.upstream.members[0]!.config.weight, 3);
  });

  test('are taken over by a version that balances or finds them otherwise, but not by one that connects otherwise', () => {
    const origin = new TestUpstream([a]);
    const [endpoint] = origin.upstream.endpoints;
    assert.equal(new TestUpstream([a], { previous: origin, balance: turns }).upstream.endpoints[0], endpoint);
    assert.equal(new TestUpstream([a], { previous: origin, more: { discovery: { file: 'endpoints.json' } } }).upstream.endpoints[0], endpoint);
    assert.notEqual(new TestUpstream([a], { previous: origin, more: { connectTimeout: '9s' } }).upstream.endpoints[0], endpoint);
  });

  test('stay as they were for a version whose successor was given up', async () => {
    const origin = new TestUpstream([{ address: a, weight: 3 }, b], { balance: turns });
    const successor = new TestUpstream([{ address: a, weight: 9 }, c], { previous: origin, balance: turns });
    successor.upstream.retire(origin.upstream);
    assert.deepEqual(await origin.count(400), { [a]: 300, [b]: 100 });
  });

  test('are made anew by a version that has them still, where the one before gave them up as it was built', () => {
    const origin = new TestUpstream([a, b]);
    const successor = new TestUpstream([a, b], { previous: origin });
    const [first, second] = origin.upstream.endpoints;
    origin.setEndpoints([a]);
    successor.setEndpoints([a, b]);
    assert.equal(successor.endpoint(a), first);
    assert.notEqual(successor.endpoint(b), second);
  });

  test('tell every version that shares them when their health changes', async () => {
    const origin = new TestUpstream([a, b], { balance: turns });
    const successor = new TestUpstream([a, b], { previous: origin, balance: turns });
    await Promise.all([origin.count(4), successor.count(4)]);
    successor.endpoint(a).health.object('probe');
    assert.deepEqual(await origin.count(4), { [b]: 4 });
    assert.deepEqual(await successor.count(4), { [b]: 4 });
  });
});

describe('panic', () => {
  const lose = (origin: TestUpstream, ...addresses: string[]): void => addresses.forEach((address) => origin.endpoint(address).health.object('probe'));

  test('ignores health when fewer than half are healthy, says so once, and ends with it', async () => {
    const origin = new TestUpstream(four, { balance: turns });
    lose(origin, a, b);
    assert.deepEqual(await origin.count(8), { [c]: 4, [d]: 4 });
    lose(origin, c);
    assert.deepEqual(await origin.count(8), { [a]: 2, [b]: 2, [c]: 2, [d]: 2 });
    origin.endpoint(c).health.withdraw('probe');
    assert.deepEqual(await origin.count(8), { [c]: 4, [d]: 4 });
    assert.deepEqual(origin.panics, [true, false]);
  });

  test('serves from all when health says that none is left', async () => {
    const origin = new TestUpstream([a, b], { balance: turns });
    lose(origin, a, b);
    assert.deepEqual(await origin.count(4), { [a]: 2, [b]: 2 });
  });

  test('ignores health, and never a breaker', async () => {
    const origin = new TestUpstream(four, { balance: turns });
    for (const address of [a, b]) origin.breaker(address, 'open');
    lose(origin, a, c);
    assert.deepEqual(await origin.count(8), { [c]: 4, [d]: 4 });
    assert.deepEqual(origin.panics, [true]);
  });

  test('is none where breakers alone hold endpoints back: those that are closed bear the load', async () => {
    const origin = new TestUpstream(four, { balance: turns });
    for (const address of [a, b, c]) origin.breaker(address, 'open');
    assert.deepEqual(await origin.count(8), { [d]: 8 });
    assert.deepEqual(origin.panics, []);
  });

  test('lets a retry believe in health: it goes to a healthy endpoint, then to any other, then to one that was tried', async () => {
    const origin = new TestUpstream([...four, e], { balance: turns });
    lose(origin, a, b, c);
    origin.breaker(e, 'open');
    for (let index = 0; index < 10; index++) {
      assert.equal(await origin.send({ tried: [a] }), d);
      assert.ok([b as string, c].includes(await origin.send({ tried: [a, d] })));
      assert.ok((four as readonly string[]).includes(await origin.send({ tried: four })));
    }
  });

  test('lets a retry find the healthy endpoint of another zone before an unhealthy one of its own', async () => {
    const origin = new TestUpstream([...[a, b, c].map((address) => ({ address, zone: 'own' })), { address: d, zone: 'far' }, { address: e, zone: 'far' }], { balance: { ...turns, overprovisioning: 1 }, zone: 'own' });
    lose(origin, a, b, c, e);
    for (let index = 0; index < 10; index++) assert.equal(await origin.send({ tried: [a] }), d);
  });

  test('divides traffic between levels by what breakers leave of them', async () => {
    const origin = new TestUpstream([{ address: a }, { address: b }, { address: c, priority: 1 }, { address: d, priority: 1 }], { balance: turns });
    lose(origin, a, b, c, d);
    for (const address of [a, b, c]) origin.breaker(address, 'open');
    assert.deepEqual(await origin.count(20), { [d]: 20 });
  });

  test('is off at threshold 0: the last healthy one gets everything, and without one there is an error', async () => {
    const origin = new TestUpstream(four, { balance: { ...turns, panicThreshold: 0 } });
    lose(origin, a, b, c);
    assert.deepEqual(await origin.count(8), { [d]: 8 });
    lose(origin, d);
    await assert.rejects(origin.send(), refusal('no_endpoint'));
    assert.deepEqual(origin.panics, []);
  });

  test('is a metric that knows of its end without any traffic', async () => {
    const origin = new TestUpstream([a, b, c]);
    const metrics = new ProxyMetrics();
    const unwatch = metrics.upstreamPanic.watch(origin.upstream);
    const value = async (): Promise<string | undefined> => /^proxy_upstream_panic\{upstream="origin"\} (\d)$/m.exec(await metrics.registry.metrics())?.[1];
    assert.equal(await value(), '0');
    lose(origin, a, b);
    assert.equal(await value(), '1');
    origin.endpoint(b).health.withdraw('probe');
    assert.equal(await value(), '0');
    unwatch();
    assert.equal(await value(), undefined);
  });
});

describe('zones and priorities', () => {
  const zoned = [{ address: a, zone: 'own' }, { address: b, zone: 'own' }, { address: c, zone: 'far' }, { address: d, zone: 'far', priority: 1 }];

  test('keep traffic in the own zone, give away what it cannot bear, and take it back', async () => {
    const origin = new TestUpstream(zoned, { balance: turns, zone: 'own' });
    assert.deepEqual(await origin.count(100), { [a]: 50, [b]: 50 });
    origin.endpoint(a).health.object('probe');
    const during = await origin.count(2_000);
    assert.ok(Math.abs(during[b]! / 2_000 - 0.7) < 0.04, JSON.stringify(during));
    assert.equal(during[b]! + during[c]!, 2_000);
    origin.endpoint(b).health.object('probe');
    assert.deepEqual(await origin.count(10), { [c]: 10 });
    origin.endpoint(c).health.object('probe');
    assert.deepEqual(await origin.count(10), { [d]: 10 }, 'the next priority');
    for (const address of [a, b]) origin.endpoint(address).health.withdraw('probe');
    assert.deepEqual(await origin.count(100), { [a]: 50, [b]: 50 });
  });

  test('send a retry beyond the own zone when all of it was tried', async () => {
    const origin = new TestUpstream(zoned, { balance: turns, zone: 'own' });
    assert.equal(await origin.send({ tried: [a] }), b);
    assert.equal(await origin.send({ tried: [a, b] }), c);
    assert.equal(await origin.send({ tried: [a, b, c] }), d);
    assert.ok([a, b].includes(await origin.send({ tried: [a, b, c, d] }) as typeof a));
  });

  test('do not matter where the configuration says so, or the proxy has no zone', async () => {
    const nearest = { [a]: 20, [b]: 20, [c]: 20 };
    assert.deepEqual(await new TestUpstream(zoned, { balance: { ...turns, zoneAware: false }, zone: 'own' }).count(60), nearest);
    assert.deepEqual(await new TestUpstream(zoned, { balance: turns }).count(60), nearest);
  });
});

describe('subsets', () => {
  const versions = [{ address: a, labels: { version: 'v1' } }, { address: b, labels: { version: 'v2', arch: 'arm' } }, { address: c, labels: { version: 'v2' } }];

  test('hold the endpoints that have all the labels, each subset with turns and health of its own', async () => {
    const origin = new TestUpstream(versions, { balance: turns });
    const v1 = origin.upstream.balanceOver({ version: 'v1' });
    const v2 = origin.upstream.balanceOver({ version: 'v2' });
    assert.deepEqual(await origin.count(10, v1), { [a]: 10 });
    assert.deepEqual(await origin.count(10, v2), { [b]: 5, [c]: 5 });
    assert.deepEqual(await origin.count(10, origin.upstream.balanceOver({ arch: 'arm', version: 'v2' })), { [b]: 10 });
    origin.endpoint(b).health.object('probe');
    assert.deepEqual(await origin.count(10, v2), { [c]: 10 });
    origin.setEndpoints([{ address: d, labels: { version: 'v2' } }]);
    assert.deepEqual(await origin.count(10, v2), { [d]: 10 });
  });

  test('that are empty get nothing, or any endpoint, as the configuration says', async () => {
    const none = new TestUpstream(versions, { balance: turns });
    await assert.rejects(none.send({}, none.upstream.balanceOver({ version: 'v3' })), refusal('no_endpoint'));
    const any = new TestUpstream(versions, { balance: { ...turns, subsetFallback: 'any' } });
    assert.deepEqual(await any.count(9, any.upstream.balanceOver({ version: 'v3' })), { [a]: 3, [b]: 3, [c]: 3 });
  });

  test('may be an upstream’s own, where no route names one', async () => {
    const origin = new TestUpstream(versions, { balance: { ...turns, subset: { version: 'v2' } } });
    assert.deepEqual(await origin.count(10), { [b]: 5, [c]: 5 });
  });
});

describe('a hedge', () => {
  const labelled = [{ address: a, labels: { version: 'v1' } }, { address: b, labels: { version: 'v1' } }, { address: c, labels: { version: 'v2' } }];
  const cases: readonly (readonly [name: string, befalls: (origin: TestUpstream) => void, subset: { version: string } | undefined, goesTo: string | undefined])[] = [
    ['goes to the healthy endpoint that was not tried', (origin) => origin.endpoint(b).health.object('probe'), undefined, c],
    ['does not go back where the others are unhealthy', (origin) => [b, c].forEach((address) => origin.endpoint(address).health.object('probe')), undefined, undefined],
    ['nor where their breakers are open', (origin) => [b, c].forEach((address) => origin.breaker(address, 'open')), undefined, undefined],
    ['goes to one of its subset', () => {}, { version: 'v1' }, b],
    ['does not go back where those of its subset are unhealthy', (origin) => origin.endpoint(b).health.object('probe'), { version: 'v1' }, undefined],
    ['may be a probe', (origin) => [b, c].forEach((address, index) => origin.breaker(address, index === 0 ? 'half-open' : 'open')), undefined, b],
  ];
  for (const [name, befalls, subset, goesTo] of cases) {
    test(name, async () => {
      const origin = new TestUpstream(labelled, { balance: { ...turns, panicThreshold: 0 } });
      befalls(origin);
      const one = exchange();
      one.tried.push(a);
      assert.equal(origin.upstream.anotherOver(subset)(one), goesTo !== undefined);
      const sent = origin.send({ tried: [a], isHedge: true }, origin.upstream.balanceOver(subset));
      assert.equal(await sent.catch(() => undefined), goesTo);
    });
  }
});

describe('the description', () => {
  test('shows weights, places, health with its reasons, groups and panic; workers’ views are merged', async () => {
    const endpoints = [{ address: a, weight: 4, zone: 'own', labels: { version: 'v2' } }, { address: b, zone: 'far' }];
    const origin = new TestUpstream(endpoints, { zone: 'own', balance: { slowStart: {} } });
    await origin.clock.advance(15_000);
    origin.endpoint(b).health.object('outlier');
    const seen = describeUpstream(origin.upstream, origin.clock.now());
    assert.deepEqual([seen.panic, seen.priority], [false, 0]);
    assert.deepEqual(seen.groups, [
      { priority: 0, zone: 'own', healthy: 1, endpoints: 1, loadPercent: 100, panic: false },
      { priority: 0, zone: 'other', healthy: 0, endpoints: 1, loadPercent: 0, panic: false },
    ]);
    const [first, second] = seen.endpoints;
    assert.deepEqual([first!.weight, first!.effectiveWeight, first!.zone, first!.labels, first!.healthy, first!.breaker], [4, 2, 'own', { version: 'v2' }, true, 'closed']);
    assert.deepEqual([second!.healthy, second!.unhealthyReasons, second!.zone], [false, ['outlier'], 'far']);
    assert.equal(first!.latencyMs, null);
    const other = { ...seen, panic: true, priority: null, groups: seen.groups.map((group) => ({ ...group, healthy: 0, loadPercent: 50, panic: true })), endpoints: seen.endpoints.map((endpoint) => ({ ...endpoint, unhealthyReasons: ['probe' as const], healthy: false, effectiveWeight: 4, latencyMs: endpoint.address === a ? 8 : null })) };
    const [merged] = mergeUpstreams([[seen], [other]]);
    assert.deepEqual([merged!.panic, merged!.priority, merged!.groups[0]], [true, 0, { priority: 0, zone: 'own', healthy: 0, endpoints: 1, loadPercent: 75, panic: true }]);
    assert.deepEqual([merged!.endpoints[0]!.effectiveWeight, merged!.endpoints[1]!.unhealthyReasons], [3, ['outlier', 'probe']]);
    // Of the one that knows it.
    assert.deepEqual(merged!.endpoints.map(({ latencyMs }) => latencyMs), [8, null]);
  });
});
