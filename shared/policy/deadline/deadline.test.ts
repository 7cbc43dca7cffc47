import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import { TimeoutExceeded } from '../../errors/timeout-exceeded.js';
import { Exchange } from '../../http/exchange.js';
import { emptyBody, type Body } from '../../http/body.js';
import { openEnded, request, response, upload } from '../../../tests/support/policy.js';
import { deadline } from './deadline.js';

/** How long a request that is never answered is waited for (ms); undefined when it was not even sent. */
async function waited(fields: Record<string, string>, { trusted = true, spentMs = 0, timeoutMs = 1_000, body }: { trusted?: boolean; spentMs?: number; timeoutMs?: number; body?: Body } = {}): Promise<{ sent: boolean; gaveUpAfter: number; deadlineAt: number | undefined }> {
  const clock = new FakeClock({ now: spentMs });
  const over = new Exchange('test', '192.0.2.1', 0);
  over.isCallerTrusted = trusted;
  let sent = false;
  let gaveUpAfter = NaN;
  const service = deadline(timeoutMs, { clock })(({ cancellation }) => {
    sent = true;
    return new Promise((_resolve, reject) => cancellation.onCancel(reject));
  });
  const result = service(request(over, { fields, ...(body && { body }) }), over).catch((error: unknown) => {
    gaveUpAfter = clock.now() - spentMs;
    assert.equal((error as ProxyError).code, 'deadline_exceeded');
  });
  await clock.advance(20_000);
  await result;
  over.finish(clock.now());
  assert.equal(clock.pending, 0, 'no timer is left');
  return { sent, gaveUpAfter, deadlineAt: over.deadlineAt };
}

const timeout = 'X-Envoy-Expected-Rq-Timeout-Ms';

const cases: readonly (readonly [name: string, fields: Record<string, string>, options: Parameters<typeof waited>[1], expected: number])[] = [
  ['the route’s time, when the caller says nothing', {}, {}, 1_000],
  ['what the caller has left, when it is less', { [timeout]: '300' }, {}, 300],
  ['the route’s time, when the caller would wait longer', { [timeout]: '5000' }, {}, 1_000],
  ['what is left after the time that was already spent here', { [timeout]: '300' }, { spentMs: 120 }, 180],
  ['the route’s time, whatever a stranger says', { [timeout]: '300' }, { trusted: false }, 1_000],
  ['the route’s time, when the field makes no sense', { [timeout]: '3e2' }, {}, 1_000],
  ['the route’s time from when its body was whole', {}, { body: upload(0, 5_000) }, 6_000],
  ['the route’s time and that in which it waited for the body', {}, { body: upload(400, 1_900) }, 2_500],
  ['the route’s time alone, when the body had been awaited before', {}, { spentMs: 700, body: upload(100, 700) }, 1_000],
  ['the route’s time alone, when nothing more of the body was awaited', {}, { body: upload(0, 0) }, 1_000],
  ['what the caller has left, however long its body takes', { [timeout]: '300' }, { body: upload(0, 5_000) }, 300],
  ['no longer than the caller, however long its body takes', { [timeout]: '3000' }, { body: upload(0, 5_000) }, 3_000],
];

describe('deadline', () => {
  for (const [name, fields, options, expected] of cases) {
    test(`waits ${name}`, async () => {
      const { sent, gaveUpAfter, deadlineAt } = await waited(fields, options);
      assert.ok(sent);
      assert.equal(gaveUpAfter, expected);
      assert.equal(deadlineAt, (options?.spentMs ?? 0) + expected);
    });
  }

  test('counts against an attempt that had all of the route’s time, and was sent whole, and against no other', async () => {
    const failures: boolean[] = [];
    for (const [fields, sentAt, body] of [[{}, 0], [{}, 100], [{}, 101], [{ [timeout]: '800' }, 0], [{}, Infinity], [{}, 0, openEnded()]] as const) {
      const clock = new FakeClock();
      const over = new Exchange('test', '192.0.2.1', 0);
      const service = deadline(1_000, { clock })(({ cancellation }) => new Promise((_resolve, reject) => cancellation.onCancel(reject)));
      const result = service(request(over, { fields, body: body ?? upload(0, 500) }), over).catch((error: unknown) => {
        failures.push((error instanceof TimeoutExceeded ? error.ofAttempt(sentAt, { body: body ?? emptyBody }) : (error as ProxyError)).blamesUpstream);
      });
      await clock.advance(2_000);
      await result;
    }
    assert.deepEqual(failures, [true, true, false, false, false, false]);
  });

  for (const [name, fields, spentMs] of [
    ['nothing is left', { [timeout]: '0' }, 0],
    ['it was used up on the way', { [timeout]: '300' }, 300],
  ] as const) {
    test(`sends nothing when ${name}`, async () => {
      assert.deepEqual(await waited(fields, { spentMs }), { sent: false, gaveUpAfter: 0, deadlineAt: name === 'it was used up on the way' ? 300 : 0 });
    });
  }

  test('does not cut an answer that has started, and passes a later cancellation on', async () => {
    for (const fields of [{}, { [timeout]: '300' }] as Record<string, string>[]) {
      const clock = new FakeClock();
      const over = new Exchange('test', '192.0.2.1', 0);
      let cancelled: Error | undefined;
      const service = deadline(1_000, { clock })(async ({ cancellation }) => {
        cancellation.onCancel((reason) => (cancelled = reason));
        return response(200);
      });
      over.status = (await service(request(over, { fields }), over)).status; // as a listener does
      await clock.advance(5_000);
      assert.equal(cancelled, undefined);
      over.cancellation.cancel(new Error('the client left'));
      assert.equal((cancelled as Error | undefined)?.message, 'the client left');
    }
  });

  test('does not cut an answer that started after the limit had been put off, and leaves no timer behind it', async () => {
    const clock = new FakeClock();
    const over = new Exchange('test', '192.0.2.1', 0);
    const service = deadline(1_000, { clock })(() => Promise.resolve(response(200)));
    const answer = service(request(over, { body: upload(0, 5_000) }), over);
    await clock.advance(1_500);
    over.status = (await answer).status;
    await clock.advance(5_000);
    assert.equal(over.cancellation.isCancelled, false);
    over.finish(clock.now());
    assert.equal(clock.pending, 0);
  });

  test('requests with different deadlines each get their own', async () => {
    const clock = new FakeClock();
    const gaveUp: [string, number][] = [];
    const service = deadline(1_000, { clock })(({ cancellation }) => new Promise((_resolve, reject) => cancellation.onCancel(reject)));
    const results = ['300', '100', '200', '900', ''].map((left) => {
      const over = new Exchange('test', '192.0.2.1', 0);
      return service(request(over, { fields: left === '' ? {} : { [timeout]: left } }), over).catch(() => gaveUp.push([left, clock.now()]));
    });
    await clock.advance(2_000);
    await Promise.all(results);
    assert.deepEqual(gaveUp, [['100', 100], ['200', 200], ['300', 300], ['900', 900], ['', 1_000]]);
  });
});
