import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ProxyError } from '../errors/proxy-error.js';
import { TestUpstream } from '../../tests/support/upstream.js';

const [a, b, c, d] = ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80', '10.0.0.4:80'] as const;
const four = [a, b, c, d];
const turns = { algorithm: 'round-robin' };
const refusal = (code: string) => (error: unknown) => (error as ProxyError).code === code;

describe('a half-open breaker', () => {
  test('gets the next request, unless health objects or it was tried', async () => {
    const origin = new TestUpstream([a, b, c], { balance: turns });
    origin.breaker(a, 'half-open');
    assert.equal(await origin.send(), a);
    assert.notEqual(await origin.send({ tried: [a] }), a);
    origin.endpoint(a).health.object('probe');
    assert.notEqual(await origin.send(), a);
  });

  test('gets no retry while there is a healthy endpoint that was not tried: a request is a probe once', async () => {
    const origin = new TestUpstream(four, { balance: turns });
    for (const address of [a, b]) origin.breaker(address, 'half-open');
    for (let index = 0; index < 10; index++) {
      assert.ok([c as string, d].includes(await origin.send({ tried: [a] })));
      assert.equal(await origin.send({ tried: [a, c] }), d);
      assert.equal(await origin.send({ tried: [a, c, d] }), b, 'it is better than one that was tried');
    }
  });
});

describe('a breaker that has opened since its endpoint was chosen', () => {
  const refusing = (limits: object | undefined, ...refusers: readonly string[]) => {
    const origin = new TestUpstream(four, { balance: turns, more: { breaker: {}, ...(limits !== undefined && { limits }) } });
    const asked: string[] = [];
    for (const address of four) {
      const endpoint = origin.endpoint(address);
      const { service } = endpoint;
      endpoint.service = (request, over) => {
        asked.push(address);
        return refusers.includes(address) ? Promise.reject(new ProxyError('breaker_open')) : service(request, over);
      };
    }
    return { origin, asked };
  };

  test('costs no attempt where requests may wait for a connection: another endpoint gets it', async () => {
    for (let index = 0; index < 10; index++) assert.equal(await refusing({ maxConnections: 9 }, a, b, c).origin.send(), d);
  });

  test('is told when all refuse, and each was asked once', async () => {
    const { origin, asked } = refusing({ maxConnections: 9 }, ...four);
    await assert.rejects(origin.send(), refusal('breaker_open'));
    assert.deepEqual([...new Set(asked)].sort(), four);
    assert.ok(asked.length <= four.length + 1, String(asked));
  });

  test('ends the attempt where none waits, and so does any other error', async () => {
    const direct = refusing(undefined, ...four);
    await assert.rejects(direct.origin.send(), refusal('breaker_open'));
    assert.equal(direct.asked.length, 1);
    const { origin } = refusing({ maxConnections: 9 });
    let sent = 0;
    for (const address of four) origin.endpoint(address).service = () => Promise.reject(new ProxyError(sent++ === 0 ? 'upstream_reset' : 'internal'));
    await assert.rejects(origin.send(), refusal('upstream_reset'));
  });
});

describe('an upstream whose endpoints are all out', () => {
  const allOpen = (balance: object = {}): TestUpstream => {
    const origin = new TestUpstream(four, { balance: { ...turns, ...balance } });
    for (const address of four) origin.breaker(address, 'open');
    return origin;
  };

  for (const reason of ['probe', 'outlier'] as const) {
    test(`is refused while every breaker is open, and probed at the first that is half-open, though health (${reason}) objects`, async () => {
      const origin = allOpen();
      for (const address of four) origin.endpoint(address).health.object(reason);
      await assert.rejects(origin.send(), refusal('breaker_open'));
      origin.breaker(b, 'half-open');
      assert.equal(await origin.send(), b);
      assert.equal(await origin.send({ tried: [b] }), b, 'there is no other');
      origin.breaker(b, 'closed');
      assert.deepEqual(await origin.count(10), { [b]: 10 }, 'what has recovered carries everything, and the others are still spared');
      origin.breaker(d, 'half-open');
      assert.equal(await origin.send(), d);
    });
  }

  test('has those probed first that health does not object to', async () => {
    const origin = allOpen();
    for (const address of [a, b, d]) origin.endpoint(address).health.object('probe');
    for (const address of four) origin.breaker(address, 'half-open');
    assert.equal(await origin.send(), c);
    assert.notEqual(await origin.send({ tried: [c] }), c);
  });

  test('is not probed against its health at threshold 0, and says that it has no endpoint', async () => {
    const origin = allOpen({ panicThreshold: 0 });
    for (const address of four) origin.endpoint(address).health.object('probe');
    for (const address of four) origin.breaker(address, 'half-open');
    await assert.rejects(origin.send(), refusal('no_endpoint'));
    origin.endpoint(c).health.withdraw('probe');
    assert.equal(await origin.send(), c);
    origin.breaker(c, 'open');
    await assert.rejects(origin.send(), refusal('breaker_open'));
  });

  test('refuses what comes while the probe is under way, and tells a retry the same', async () => {
    const origin = allOpen();
    origin.breaker(b, 'probed');
    await assert.rejects(origin.send(), refusal('breaker_open'));
    await assert.rejects(origin.send({ tried: [b] }), refusal('breaker_open'));
  });
});
