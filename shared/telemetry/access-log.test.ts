import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { exchange, request, response } from '../../tests/support/policy.js';
import type { Exchange } from '../http/exchange.js';
import type { Clock } from '../clock/clock.js';
import { FakeClock } from '../clock/fake-clock.js';
import { parseRequestHead } from '../http1/request-head.js';
import { limitsSchema } from '../config/sections.js';
import { accessLog } from './access-log.js';
import { LineWriter } from './line-writer.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapUsed(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

const limits = limitsSchema.parse({});

/** A log of exchanges that wait for their end, and what was written when it closes. */
function logging(clock: Clock): { readonly begin: () => Promise<Exchange>; readonly lines: () => Record<string, unknown>[] } {
  let text = '';
  const writer = new LineWriter(clock, (batch) => (text += batch.toString()));
  const service = accessLog(writer, { clock })(() => Promise.resolve(response(200)));
  return {
    async begin() {
      const over = exchange();
      over.request = request(over);
      await service(over.request, over);
      return over;
    },
    lines() {
      writer.close();
      return text.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    },
  };
}

describe('the access log', () => {
  const failures: readonly (readonly [name: string, particulars: Partial<Exchange>, flags: string | undefined])[] = [
    ['an error by its own flag', { errorCode: 'upstream_timeout' }, 'UT'],
    ['a retry that there was no room for', { errorCode: 'upstream_timeout', isRetryRefused: true }, 'UT,UO'],
    ['the same for an answer of the upstream', { isRetryRefused: true }, 'UO'],
    ['one flag once', { errorCode: 'breaker_open', isRetryRefused: true }, 'UO'],
    ['attempts that were used up', { errorCode: 'upstream_reset', retriesExhausted: true }, 'UC,URX'],
    ['nothing where all went well', {}, undefined],
  ];
  for (const [name, particulars, flags] of failures) {
    test(`tells ${name}`, async () => {
      const clock = new FakeClock();
      const { begin, lines } = logging(clock);
      Object.assign(await begin(), particulars).finish(clock.now());
      assert.deepEqual(lines().map((line) => line['flags']), [flags]);
    });
  }

  test('tells why an upstream failed, escaped', async () => {
    const clock = new FakeClock();
    const { begin, lines } = logging(clock);
    Object.assign(await begin(), { errorCode: 'upstream_tls_failed', reason: 'not for "shop"\n' }).finish(clock.now());
    Object.assign(await begin(), { errorCode: 'upstream_timeout' }).finish(clock.now());
    assert.deepEqual(lines().map(({ code, reason }) => [code, reason]), [['upstream_tls_failed', 'not for "shop"\n'], ['upstream_timeout', undefined]]);
  });

  test('tells of an exchange that broke off what it was then, whatever still fails for it', async () => {
    const clock = new FakeClock();
    const { begin, lines } = logging(clock);
    const over = await begin();
    over.cancellation.cancel(new Error('the client has left'));
    over.finish(clock.now());
    Object.assign(over, { status: 502, errorCode: 'upstream_reset', attempts: 3 });
    assert.deepEqual(lines().map(({ status, code, attempts }) => [status, code, attempts]), [[0, undefined, 0]]);
  });

  test('tells the bytes that are counted at the end', async () => {
    const clock = new FakeClock();
    const { begin, lines } = logging(clock);
    for (let index = 0; index < 20; index++) {
      const over = await begin();
      over.countBytes = () => Object.assign(over, { requestBytes: 5, responseBytes: index });
      over.finish(clock.now());
    }
    assert.deepEqual(lines().map(({ requestBytes, responseBytes }) => [requestBytes, responseBytes]), Array.from({ length: 20 }, (_, index) => [5, index]));
  });

  test('gives no time before that of the end, where a clock counts fractions and the other does not', async () => {
    const clock = new FakeClock();
    const { begin, lines } = logging({ now: () => clock.now() + 0.3, wallNow: () => clock.wallNow(), after: clock.after.bind(clock) });
    (await begin()).finish(clock.now());
    assert.deepEqual(lines().map(({ time }) => time), [new Date(clock.wallNow()).toISOString()]);
  });

  test('gives the time to the millisecond', async () => {
    const clock = new FakeClock();
    const { begin, lines } = logging(clock);
    const expected: string[] = [];
    for (const ms of [0, 1, 9, 90, 900, 86_400_000]) {
      await clock.advance(ms);
      (await begin()).finish(clock.now());
      expected.push(new Date(clock.wallNow()).toISOString());
    }
    assert.deepEqual(lines().map(({ time }) => time), expected);
  });

  const heads: readonly (readonly [name: string, head: (index: number) => string])[] = [
    ['short ones of long heads', (index) => `Host: a-host-with-the-number-${index}\r\nX: ${'x'.repeat(30_000)}\r\n`],
    ['addresses of clients that a proxy in front names', (index) => `Host: shop\r\nX-Forwarded-For: 2001:db8:1234:5678::${index.toString(16)}\r\nX: ${'x'.repeat(30_000)}\r\n`],
    ['long ones', (index) => `Host: ${String(index).padStart(30_000, 'x')}\r\n`],
  ];
  for (const [name, head] of heads) {
    test(`remembers names, but not the memory they came in: ${name}`, async () => {
      const clock = new FakeClock();
      const writer = new LineWriter(clock, () => {});
      const service = accessLog(writer, { clock })(() => Promise.resolve(response(200)));
      const before = heapUsed();
      for (let index = 0; index < 500; index++) {
        const data = Buffer.from(`GET / HTTP/1.1\r\n${head(index)}\r\n`, 'latin1');
        const { method, authority, headers } = parseRequestHead(data, 0, data.length, limits);
        const over = exchange(headers.get('x-forwarded-for'));
        over.request = request(over, { method, authority });
        await service(over.request, over);
        over.finish(clock.now());
      }
      const growth = heapUsed() - before;
      assert.ok(growth < 4 << 20, `${growth} bytes`);
      // What is remembered lives as long as the layer.
      assert.equal(typeof service, 'function');
    });
  }
});
