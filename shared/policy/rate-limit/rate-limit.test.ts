import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import { rateLimitSchema } from '../../config/policies.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import { Headers } from '../../http/headers.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import type { Counted } from './quota-windows.js';
import { rateLimit } from './rate-limit.js';

async function start(config: object, theirs: Record<string, string> = {}) {
  const clock = new FakeClock();
  const { layer } = await rateLimit(rateLimitSchema.parse({ max: 2, timeWindow: '60s', ...config }), { clock });
  const service = layer(async () => response(200, theirs));
  const call = async (over: Exchange, fields: Record<string, string> = {}): Promise<{ outcome: number | string; fields: Record<string, string>; retryAfter?: string | undefined }> =>
    service(request(over, { fields }), over).then(
      ({ status, headers }) => ({ outcome: status, fields: added(over, headers) }),
      (error: unknown) => ({ outcome: (error as ProxyError).code, fields: added(over), retryAfter: (error as ProxyError).fields['Retry-After'] }),
    );
  return { call, clock };
}

interface Settled {
  readonly resolve: (counted: Counted) => void;
  readonly reject: (reason: Error) => void;
}

/** The fields of an answer as the listener sends it. */
function added(over: Exchange, headers = Headers.empty()): Record<string, string> {
  for (const add of over.responseFields) add(headers);
  return headers.toObject();
}

const caller = (address: string, subject?: string): Exchange => {
  const over = exchange(address);
  if (subject !== undefined) over.caller = { subject, scopes: new Set(), claims: {} };
  return over;
};

describe('rateLimit', () => {
  test('admits the quota and refuses what is beyond it, with the fields of the draft on every answer', async () => {
    const { call } = await start({});
    assert.deepEqual((await call(caller('192.0.2.1'))).fields, { 'ratelimit-policy': '"default";q=2;w=60', ratelimit: '"default";r=1;t=60' });
    assert.equal((await call(caller('192.0.2.1'))).outcome, 200);
    const refused = await call(caller('192.0.2.1'));
    assert.equal(refused.outcome, 'rate_limited');
    assert.match(refused.retryAfter!, /^([1-9]|[1-5]\d|60)$/);
    assert.match(refused.fields['ratelimit']!, /^"default";r=0;t=\d+$/);
  });

  const sameQuota: readonly (readonly [name: string, key: string, one: () => [Exchange, Record<string, string>], other: () => [Exchange, Record<string, string>], shared: boolean])[] = [
    ['addresses do not share', 'ip', () => [caller('192.0.2.1'), {}], () => [caller('192.0.2.2'), {}], false],
    ['an IPv4 address is the same on an IPv6 socket', 'ip', () => [caller('192.0.2.1'), {}], () => [caller('::ffff:192.0.2.1'), {}], true],
    ['and in whatever spelling it is mapped', 'ip', () => [caller('192.0.2.1'), {}], () => [caller('::ffff:c000:201'), {}], true],
    ['addresses of one IPv6 /64 share', 'ip', () => [caller('2001:db8::1'), {}], () => [caller('2001:db8:0:0:ffff::2'), {}], true],
    ['addresses of two IPv6 /64 do not', 'ip', () => [caller('2001:db8:0:1::1'), {}], () => [caller('2001:db8:0:2::1'), {}], false],
    ['a subject shares across addresses', 'sub', () => [caller('192.0.2.1', 'alice'), {}], () => [caller('192.0.2.2', 'alice'), {}], true],
    ['subjects do not share an address', 'sub', () => [caller('192.0.2.1', 'alice'), {}], () => [caller('192.0.2.1', 'bob'), {}], false],
    ['a subject that looks like an address is not it', 'sub', () => [caller('192.0.2.1', '192.0.2.9'), {}], () => [caller('192.0.2.9'), {}], false],
    ['a field shares by its value', 'header:X-Key', () => [caller('192.0.2.1'), { 'x-key': 'k' }], () => [caller('192.0.2.2'), { 'x-key': 'k' }], true],
    ['a long value is kept apart from another', 'header:X-Key', () => [caller('192.0.2.1'), { 'x-key': 'k'.repeat(500) }], () => [caller('192.0.2.1'), { 'x-key': `${'k'.repeat(499)}j` }], false],
  ];
  for (const [name, key, one, other, shared] of sameQuota) {
    test(`by ${key}: ${name}`, async () => {
      const { call } = await start({ max: 1, key });
      assert.equal((await call(...one())).outcome, 200);
      assert.equal((await call(...other())).outcome, shared ? 'rate_limited' : 200);
    });
  }

  for (const fields of [{ 'X-Key': 'junk', 'x-key': 'real' }, { 'X-Key': 'real', 'x-key': 'real' }]) {
    test(`a request that has the field of its quota twice is refused: ${Object.values(fields).join(' and ')}`, async () => {
      const { call } = await start({ key: 'header:X-Key' });
      assert.deepEqual(await call(caller('192.0.2.1'), fields), { outcome: 'bad_request', fields: {}, retryAfter: undefined });
    });
  }

  test('what may be read as the field of the quota goes no further', async () => {
    const { layer } = await rateLimit(rateLimitSchema.parse({ max: 2, key: 'header:X-Api-Key' }), { clock: new FakeClock() });
    const sent: Record<string, string>[] = [];
    const service = layer(async ({ headers }) => {
      sent.push(headers.toObject());
      return response(200);
    });
    const over = exchange();
    await service(request(over, { fields: { 'X-Api-Key': 'junk', X_Api_Key: 'real', 'X_Api-Key': 'real', X_Other: '1' } }), over);
    assert.deepEqual(sent, [{ 'x-api-key': 'junk', x_other: '1' }]);
  });

  test('a long subject is counted by its digest', async () => {
    const keys: string[] = [];
    const counter = { count: (_scope: string, key: string) => Promise.resolve({ current: keys.push(key), ttl: 1 }) };
    const { layer } = await rateLimit(rateLimitSchema.parse({ key: 'sub', max: 9 }), { clock: new FakeClock(), counter: { scope: 'test', counter } });
    for (const subject of ['alice', 'a'.repeat(5_000)]) {
      const over = caller('192.0.2.1', subject);
      await layer(async () => response(200))(request(over), over);
    }
    assert.deepEqual(keys.map((key) => key.length), ['sub:alice'.length, 'sub:'.length + 43]);
  });

  for (const [name, answer] of [['was counted', (settled: Settled) => settled.resolve({ current: 1, ttl: 1 })], ['could not be counted', (settled: Settled) => settled.reject(new Error('away'))]] as const) {
    test(`a request ${name} after its client left goes no further`, async () => {
      let asked!: (settled: Settled) => void;
      const counting = new Promise<Settled>((resolve) => (asked = resolve));
      const counter = { count: () => new Promise<Counted>((resolve, reject) => asked({ resolve, reject })) };
      const { layer } = await rateLimit(rateLimitSchema.parse({ max: 9, failOpen: true }), { clock: new FakeClock(), counter: { scope: 'test', counter } });
      const over = caller('192.0.2.1');
      const answered = layer(() => assert.fail('it went on'))(request(over), over);
      const settled = await counting;
      over.cancellation.cancel(new ProxyError('client_closed'));
      answer(settled);
      await assert.rejects(answered, { code: 'client_closed' });
    });
  }

  test('writes the older names when told to', async () => {
    const { call } = await start({ headers: 'legacy' });
    assert.deepEqual((await call(caller('192.0.2.1'))).fields, { 'ratelimit-limit': '2', 'ratelimit-remaining': '1', 'ratelimit-reset': '60' });
  });

  const quotasOfOthers: readonly (readonly [name: string, theirs: Record<string, string>, expected: Record<string, string>])[] = [
    ['is one more item behind theirs', { 'RateLimit-Policy': '"default";q=1;w=60', RateLimit: '"default";r=0;t=9' }, { 'ratelimit-policy': '"default";q=1;w=60, "test";q=9;w=60', ratelimit: '"default";r=0;t=9, "test";r=8;t=60' }],
    ['has a name of its own', { 'RateLimit-Policy': '"test";q=1;w=60, "test-2";q=5;w=1', RateLimit: '"test";r=0;t=9' }, { 'ratelimit-policy': '"test";q=1;w=60, "test-2";q=5;w=1, "test-3";q=9;w=60', ratelimit: '"test";r=0;t=9, "test-3";r=8;t=60' }],
    ['takes the place of what is no list of names', { 'RateLimit-Policy': '100;w=60', RateLimit: 'limit=100, remaining=1, reset=9' }, { 'ratelimit-policy': '"default";q=9;w=60', ratelimit: '"default";r=8;t=60' }],
    ['by its older names is there if it has less left', { 'RateLimit-Limit': '100', 'RateLimit-Remaining': '9', 'RateLimit-Reset': '5' }, { 'ratelimit-limit': '9', 'ratelimit-remaining': '8', 'ratelimit-reset': '60' }],
    ['by its older names is not there if theirs has less left', { 'RateLimit-Limit': '3', 'RateLimit-Remaining': '0', 'RateLimit-Reset': '5' }, { 'ratelimit-limit': '3', 'ratelimit-remaining': '0', 'ratelimit-reset': '5' }],
  ];
  for (const [name, theirs, expected] of quotasOfOthers) {
    test(`where the upstream has a quota too, ours ${name}`, async () => {
      const { call } = await start({ max: 9, headers: 'RateLimit' in theirs ? 'draft' : 'legacy' }, theirs);
      assert.deepEqual((await call(caller('192.0.2.1'))).fields, expected);
    });
  }

  test('starts anew with the next window', async () => {
    const { call, clock } = await start({ max: 1, timeWindow: '30s' });
    const outcome = async (): Promise<number | string> => (await call(caller('192.0.2.1'))).outcome;
    assert.deepEqual([await outcome(), await outcome()], [200, 'rate_limited']);
    await clock.advance(29_999);
    assert.equal(await outcome(), 'rate_limited');
    await clock.advance(1);
    assert.deepEqual([await outcome(), await outcome()], [200, 'rate_limited']);
  });

  test('takes no notice of a step of the clock on the wall', async (context) => {
    context.mock.timers.enable({ apis: ['Date'], now: 0 });
    const { call, clock } = await start({ max: 1, timeWindow: '30s' });
    assert.equal((await call(caller('192.0.2.1'))).outcome, 200);
    context.mock.timers.setTime(86_400_000);
    assert.deepEqual(await call(caller('192.0.2.1')).then(({ outcome, retryAfter }) => [outcome, retryAfter]), ['rate_limited', '30']);
    context.mock.timers.setTime(0);
    await clock.advance(30_000);
    assert.equal((await call(caller('192.0.2.1'))).outcome, 200);
  });
});
