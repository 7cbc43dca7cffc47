import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { randomFrom } from '../../../tests/conformance/generate-case.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { splitSchema, stickySchema } from '../../config/shaping.js';
import type { Service } from '../../http/service.js';
import { byHash, hashOf } from './choose.js';
import { split } from './split.js';

const names = ['stable', 'canary', 'next'];

/** A split whose sides answer with their names. */
function start(weights: readonly number[], sticky?: object, seed = 1) {
  const services = new Map(names.map((name): [string, Service] => [name, () => Promise.resolve(response(200, { 'X-Side': name, 'Set-Cookie': 'own=1' }))]));
  const service = split(splitSchema.parse(weights.map((weight, index) => ({ upstream: names[index], weight }))), sticky && stickySchema.parse(sticky), services, { random: randomFrom(seed) });
  return async (fields: Record<string, string> = {}, address = '192.0.2.1', scheme: 'http' | 'https' = 'http') => {
    const over = exchange(address);
    const { headers } = await service(request(over, { fields, scheme }), over);
    return { side: headers.get('x-side')!, cookies: headers.getAll('set-cookie') };
  };
}

async function count(send: () => Promise<{ side: string }>, times: number): Promise<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let index = 0; index < times; index++) {
    const { side } = await send();
    counts[side] = (counts[side] ?? 0) + 1;
  }
  return counts;
}

/** Pearson's statistic of what was counted against what the weights promise. */
function chiSquare(counts: Readonly<Record<string, number>>, weights: readonly number[]): number {
  const total = Object.values(counts).reduce((sum, one) => sum + one, 0);
  const all = weights.reduce((sum, one) => sum + one, 0);
  return weights.reduce((sum, weight, index) => sum + (((counts[names[index]!] ?? 0) - (total * weight) / all) ** 2 * all) / (total * weight), 0);
}

/** Exceeded by chance once in a thousand runs, with two degrees of freedom; the seeds are fixed, so that it is never. */
const limit = 13.8;

describe('split', () => {
  const shares: readonly (readonly number[])[] = [[90, 9, 1], [1, 1, 1], [7, 2, 1]];
  for (const weights of shares) {
    test(`sends by chance in the proportion ${weights.join(':')}`, async () => {
      assert.ok(chiSquare(await count(start(weights), 20_000), weights) < limit);
    });
    test(`sends keys in the proportion ${weights.join(':')}`, async () => {
      const send = start(weights, { header: 'X-User' });
      let user = 0;
      assert.ok(chiSquare(await count(() => send({ 'x-user': `user-${user++}` }), 20_000), weights) < limit);
    });
  }

  test('sends nothing to a side of weight 0, by chance or by key', async () => {
    const sticky = start([1, 0], { header: 'X-User' });
    let user = 0;
    assert.deepEqual(await count(start([1, 0]), 1_000), { stable: 1_000 });
    assert.deepEqual(await count(() => sticky({ 'x-user': String(user++) }), 1_000), { stable: 1_000 });
  });

  const keys: readonly (readonly [name: string, sticky: object, one: Parameters<ReturnType<typeof start>>, same: Parameters<ReturnType<typeof start>>])[] = [
    ['a field', { header: 'X-User' }, [{ 'x-user': 'ann' }], [{ 'x-user': 'ann', 'x-other': '1' }, '192.0.2.9']],
    ['a cookie', { cookie: 'id' }, [{ cookie: 'a=1; id=ann' }], [{ cookie: 'id="ann"; b=2' }, '192.0.2.9']],
    ['an address', { ip: true }, [{}, '192.0.2.1'], [{ cookie: 'id=x' }, '192.0.2.1']],
  ];
  for (const [name, sticky, one, same] of keys) {
    test(`keeps requests with the same key together, by ${name}, in every proxy`, async () => {
      const first = start([1, 1], sticky, 1);
      const { side } = await first(...one);
      for (let index = 0; index < 30; index++) {
        assert.equal((await first(...same)).side, side);
        assert.equal((await start([1, 1], sticky, index)(...one)).side, side);
      }
    });
  }

  test('sends a request without the key by chance, and gives it no cookie unless told to', async () => {
    const send = start([1, 1], { cookie: 'id' });
    const counts = await count(() => send({ cookie: 'other=1' }), 200);
    assert.ok(counts['stable']! > 70 && counts['canary']! > 70, JSON.stringify(counts));
    assert.deepEqual((await send()).cookies, ['own=1']);
  });

  test('gives a client without the cookie one that keeps it where it is, beside those of the upstream', async () => {
    const send = start([1, 1], { cookie: 'side', ttl: '1h' });
    for (let index = 0; index < 20; index++) {
      const { side, cookies } = await send();
      assert.equal(cookies[0], 'own=1');
      assert.match(cookies[1]!, /^side=[0-9a-f]{16}; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax$/);
      const again = await send({ cookie: cookies[1]!.split(';')[0]! });
      assert.deepEqual(again, { side, cookies: ['own=1'] });
    }
    assert.match((await start([1, 1], { cookie: 'side', ttl: 0 })()).cookies[1]!, /^side=[0-9a-f]{16}; Path=\/; HttpOnly/);
    assert.match((await send({}, '192.0.2.1', 'https')).cookies[1]!, /; SameSite=Lax; Secure$/);
  });
});

describe('byHash', () => {
  const all = Array.from({ length: 20_000 }, (_, index) => hashOf(`key ${index}`));
  const sidesOf = (weights: Readonly<Record<string, number>>): string[] => {
    const sides = Object.entries(weights).map(([name, weight]) => ({ name, weight }));
    const choose = byHash(sides);
    return all.map((key) => sides[choose(key)]!.name);
  };
  const moves = (before: Readonly<Record<string, number>>, after: Readonly<Record<string, number>>): Record<string, number> => {
    const [from, to] = [sidesOf(before), sidesOf(after)];
    const counts: Record<string, number> = {};
    from.forEach((name, index) => {
      if (name !== to[index]) counts[`${name} to ${to[index]!}`] = (counts[`${name} to ${to[index]!}`] ?? 0) + 1 / all.length;
    });
    return counts;
  };

  test('raising a canary from 10% to 20% moves a tenth of the keys to it, and none back', () => {
    const counts = moves({ stable: 90, canary: 10 }, { stable: 80, canary: 20 });
    assert.deepEqual(Object.keys(counts), ['stable to canary']);
    assert.ok(Math.abs(counts['stable to canary']! - 0.1) < 0.01, JSON.stringify(counts));
  });

  test('a side that comes takes its share, and moves no key between the others', () => {
    const counts = moves({ stable: 80, canary: 10 }, { stable: 80, canary: 10, next: 10 });
    assert.deepEqual(Object.keys(counts).sort(), ['canary to next', 'stable to next']);
    assert.ok(Math.abs(counts['stable to next']! + counts['canary to next']! - 0.1) < 0.01, JSON.stringify(counts));
  });

  test('the order of the sides means nothing', () => {
    assert.deepEqual(moves({ stable: 3, canary: 1 }, { canary: 1, stable: 3 }), {});
  });
});
