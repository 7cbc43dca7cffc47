import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { upstreamSchema } from '../../config/sections.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { httpOrigin, type Origin } from '../../../tests/support/origin.js';

interface Named {
  readonly name: string;
  readonly origin: Origin;
  readonly address: string;
}

async function named(name: string): Promise<Named> {
  const origin = await httpOrigin((_request, response) => response.setHeader('Set-Cookie', 'theirs=1').end(name));
  return { name, origin, address: `127.0.0.1:${origin.port}` };
}

let origins: readonly Named[];
before(async () => {
  origins = await Promise.all(['one', 'two', 'three', 'four'].map(named));
});
after(() => Promise.all(origins.map(({ origin }) => origin.close())));

async function startOver(upstream: object, zone?: string): Promise<TestEngine & { ask: (headers?: Record<string, string>) => Promise<{ name: string; cookies: string[] }>; lose: (name: string) => void; find: (name: string) => void }> {
  const engine = await startEngine([], { upstream: upstreamSchema.parse(upstream), ...(zone !== undefined && { zone }) });
  const health = (name: string) => engine.upstream.endpoints.find((endpoint) => endpoint.name === origins.find((origin) => origin.name === name)!.address)!.health;
  return {
    ...engine,
    async ask(headers = {}) {
      const response = await fetch(`http://127.0.0.1:${engine.port}/`, { headers });
      return { name: await response.text(), cookies: response.headers.getSetCookie() };
    },
    lose: (name) => health(name).object('probe'),
    find: (name) => health(name).withdraw('probe'),
  };
}

describe('a sticky cookie', () => {
  const balance = { algorithm: 'ring-hash', hash: { cookie: 'shard', ttl: '1h' } };

  test('is set for a client without one, beside the cookies of the upstream, and brings it back to the same endpoint', async () => {
    const engine = await startOver({ endpoints: origins.map(({ address }) => address), balance });
    const seen = new Set<string>();
    for (let client = 0; client < 12; client++) {
      const first = await engine.ask();
      assert.equal(first.cookies[0], 'theirs=1');
      assert.match(first.cookies[1]!, /^shard=[0-9a-f]{16}; Path=\/; Max-Age=3600; HttpOnly; SameSite=Lax$/);
      seen.add(first.name);
      const cookie = `a=b; ${first.cookies[1]!.split(';', 1)[0]!}`;
      for (let again = 0; again < 5; again++) assert.deepEqual(await engine.ask({ cookie }), { name: first.name, cookies: ['theirs=1'] });
    }
    assert.ok(seen.size > 1, 'clients are spread');
    await engine.close();
  });

  test('leads elsewhere while its endpoint is lost, always to the same, and back when it is there again', async () => {
    const engine = await startOver({ endpoints: origins.map(({ address }) => address), balance });
    const cookie = 'shard=0123456789abcdef';
    const { name } = await engine.ask({ cookie });
    engine.lose(name);
    const { name: instead } = await engine.ask({ cookie });
    assert.notEqual(instead, name);
    for (let again = 0; again < 5; again++) assert.equal((await engine.ask({ cookie })).name, instead);
    engine.find(name);
    assert.equal((await engine.ask({ cookie })).name, name);
    await engine.close();
  });

  test('without a ttl is only read', async () => {
    const engine = await startOver({ endpoints: origins.map(({ address }) => address), balance: { ...balance, hash: { cookie: 'shard' } } });
    assert.deepEqual((await engine.ask()).cookies, ['theirs=1']);
    await engine.close();
  });
});

describe('the loss of a zone', () => {
  test('moves traffic to the other zone, and its return moves it back', async () => {
    const endpoints = origins.map(({ address }, index) => ({ address, zone: index < 2 ? 'near' : 'far' }));
    const engine = await startOver({ endpoints, balance: { algorithm: 'round-robin' } }, 'near');
    const ask = async (count: number): Promise<string[]> => {
      const names = new Set<string>();
      for (let index = 0; index < count; index++) names.add((await engine.ask()).name);
      return [...names].sort();
    };
    assert.deepEqual(await ask(10), ['one', 'two']);
    engine.lose('one');
    engine.lose('two');
    assert.deepEqual(await ask(10), ['four', 'three']);
    engine.find('one');
    assert.ok((await ask(20)).includes('one'), 'half a zone takes what it can bear');
    engine.find('two');
    assert.deepEqual(await ask(10), ['one', 'two']);
    await engine.close();
  });
});
