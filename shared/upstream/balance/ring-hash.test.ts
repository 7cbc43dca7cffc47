import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exchange, request } from '../../../tests/support/policy.js';
import { TestUpstream } from '../../../tests/support/upstream.js';
import { hashKey } from './hash-key.js';
import { Ring } from './ring.js';
import { ringHash } from './ring-hash.js';

const balance = { algorithm: 'ring-hash', hash: { header: 'x-user' } };
const addresses = (count: number): string[] => Array.from({ length: count }, (_, index) => `10.0.${index >> 8}.${index & 255}:80`);

/** Where each of many keys goes. */
async function places(origin: TestUpstream, keys = 4_000): Promise<string[]> {
  const all: string[] = [];
  for (let key = 0; key < keys; key++) all.push(await origin.send({ fields: { 'x-user': `user-${key}` } }));
  return all;
}

describe('a ring', () => {
  for (const count of [3, 10, 100]) {
    test(`of ${count} gives keys to a newcomer only, about one in ${count + 1}, and takes them back alone`, async () => {
      const origin = new TestUpstream(addresses(count), { balance });
      const before = await places(origin);
      origin.setEndpoints(addresses(count + 1));
      const after = await places(origin);
      const moved = after.filter((place, key) => place !== before[key]);
      const newcomer = addresses(count + 1).at(-1);
      assert.deepEqual([...new Set(moved)], [newcomer]);
      assert.ok(moved.length < (1.4 * 4_000) / (count + 1) + 20, `${moved.length} of 4000 moved`);
      origin.setEndpoints(addresses(count));
      assert.deepEqual(await places(origin), before);
    });
  }

  test('moves only the keys of an endpoint that turns unhealthy, spreads them over the others, and moves them back', async () => {
    const origin = new TestUpstream(addresses(5), { balance });
    const before = await places(origin);
    const [lost] = addresses(5);
    origin.endpoint(lost!).health.object('probe');
    const during = await places(origin);
    const takers = new Set<string>();
    during.forEach((place, key) => {
      if (before[key] === lost) takers.add(place);
      else assert.equal(place, before[key]);
    });
    assert.deepEqual([...takers].sort(), addresses(5).slice(1));
    origin.endpoint(lost!).health.withdraw('probe');
    assert.deepEqual(await places(origin), before);
  });

  test('has a bounded size, and every candidate a place on it', () => {
    for (const count of [1, 2, 128, 129, 1_000, 70_000]) {
      const candidates = Array.from({ length: count }, (_, index) => ({ name: `${index}`, weight: index === 0 ? 1_000 : 1 }));
      assert.ok(Ring.of(candidates).size <= Math.max(65_536, count + 1_000), `${count}`);
      const ring = Ring.of(candidates.map(({ name }) => ({ name, weight: 1 })));
      assert.ok(ring.size <= Math.max(65_536, count));
      assert.equal(new Set(Array.from({ length: ring.size }, (_, index) => ring.at(index))).size, count);
    }
  });

  test('is the same in every proxy', async () => {
    const one = new TestUpstream(addresses(7), { balance, seed: 1 });
    const other = new TestUpstream([...addresses(7)].reverse(), { balance, seed: 99 });
    assert.deepEqual(await places(one, 500), await places(other, 500));
  });

  test('uses all places of a group that gets a part of the keys only', async () => {
    const zoned = addresses(14).map((address, index) => ({ address, zone: index < 10 ? 'own' : 'other' }));
    const origin = new TestUpstream(zoned, { balance, zone: 'own' });
    for (const { address } of zoned.slice(0, 3)) origin.endpoint(address).health.object('probe');
    const counts = await origin.count(60_000);
    // 1.4 × 7/10 stay; four endpoints share the 2 % that are left, about 300 each.
    const others = zoned.slice(10).map(({ address }) => counts[address]!);
    assert.ok(Math.min(...others) > 230 && Math.max(...others) < 370, others.join(', '));
    const before = await places(origin, 500);
    assert.deepEqual(await places(origin, 500), before, 'and a key always falls to the same group');
  });
});

describe('a key', () => {
  const one = exchange('192.0.2.7');
  const cases: readonly (readonly [name: string, config: Parameters<typeof hashKey>[0], changes: object, key: string | undefined])[] = [
    ['is the client’s address', 'ip', {}, '192.0.2.7'],
    ['is the path, without the query', 'path', { path: '/a/b', target: '/a/b?c' }, '/a/b'],
    ['is a field', { header: 'x-user' }, { fields: { 'X-User': ' seven ' } }, 'seven'],
    ['is missing with the field', { header: 'x-user' }, {}, undefined],
    ['is missing with an empty field', { header: 'x-user' }, { fields: { 'x-user': '' } }, undefined],
    ['is a cookie among others', { cookie: 'b', path: '/' }, { fields: { cookie: 'ab=1; b=2=3;c=4' } }, '2=3'],
    ['is not a cookie of a longer name', { cookie: 'b', path: '/' }, { fields: { cookie: 'ab=1; bb=2' } }, undefined],
    ['is a cookie without the quotes around it', { cookie: 'b', path: '/' }, { fields: { cookie: 'b="2"' } }, '2'],
    ['is not an empty cookie in quotes', { cookie: 'b', path: '/' }, { fields: { cookie: 'b=""' } }, undefined],
    ['is not an empty cookie', { cookie: 'b', path: '/' }, { fields: { cookie: 'b=' } }, undefined],
    ['is nothing in a broken cookie', { cookie: 'b', path: '/' }, { fields: { cookie: ';;b;=' } }, undefined],
  ];
  for (const [name, config, changes, key] of cases) {
    test(name, () => assert.equal(hashKey(config)(request(one, changes), one), key));
  }

  test('may come in the second of two Cookie fields', () => {
    const get = request(one, { fields: { cookie: 'a=1' } });
    get.headers.append('Cookie', 'b=2');
    assert.equal(hashKey({ cookie: 'b', path: '/' })(get, one), '2');
  });

  test('that is missing leaves the choice to latency', async () => {
    const origin = new TestUpstream(addresses(3), { balance });
    const counts: Record<string, number> = {};
    for (let index = 0; index < 300; index++) counts[await origin.send()] = 1;
    assert.deepEqual(Object.keys(counts).sort(), addresses(3));
  });
});

describe('a bounded load', () => {
  const chooserOver = (boundedLoad: number | undefined) => {
    const candidates = addresses(4).map((name) => ({ name, weight: 1, inFlight: 0, latency: { isKnown: false, at: () => 0 } }));
    const balancer = ringHash({ hash: { header: 'x-user' }, boundedLoad }, { random: () => 0, clock: { now: () => 0 } });
    const choose = balancer.prepare(candidates, candidates);
    const one = exchange();
    const popular = request(one, { fields: { 'x-user': 'everybody' } });
    return { candidates, choose: (tried: readonly string[] = []) => choose(popular, one, tried)! };
  };

  test('sends what is beyond an endpoint’s share to the next on the ring', () => {
    const { candidates, choose } = chooserOver(1.25);
    for (let sent = 1; sent <= 400; sent++) {
      choose().inFlight++;
      const most = Math.max(...candidates.map(({ inFlight }) => inFlight));
      assert.ok(most <= Math.ceil((1.25 * sent) / 4), `${most} of ${sent}`);
    }
  });

  test('is none where it is not asked for', () => {
    const { candidates, choose } = chooserOver(undefined);
    for (let sent = 0; sent < 400; sent++) choose().inFlight++;
    assert.deepEqual(candidates.map(({ inFlight }) => inFlight).sort((left, right) => left - right), [0, 0, 0, 400]);
  });

  test('gives way when those with room were all tried', () => {
    const { candidates, choose } = chooserOver(1.05);
    const [busy, ...others] = candidates;
    busy!.inFlight = 1_000;
    assert.equal(choose(others.map(({ name }) => name)), busy);
    assert.equal(choose(candidates.map(({ name }) => name)), undefined);
  });
});
