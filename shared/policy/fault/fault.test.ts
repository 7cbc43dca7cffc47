import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { randomFrom } from '../../../tests/conformance/generate-case.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { faultSchema } from '../../config/shaping.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { fault, type FaultEvent } from './fault.js';

function start(config: object, seed = 1) {
  const clock = new FakeClock();
  const events: FaultEvent[] = [];
  const passedAt: number[] = [];
  const service = fault(faultSchema.parse(config), { clock, random: randomFrom(seed), onEvent: (event) => events.push(event) })(() => {
    passedAt.push(clock.now());
    return Promise.resolve(response(200));
  });
  const send = (fields: Record<string, string> = {}, over = exchange()) => ({
    over,
    outcome: service(request(over, { fields, target: '/x?debug=1' }), over).then(
      ({ status }) => status,
      (error: unknown) => `${(error as ProxyError).code} ${(error as ProxyError).status}`,
    ),
  });
  return { clock, events, passedAt, send };
}

describe('fault', () => {
  test('answers with the status that it is told, and nothing is sent on', async () => {
    const { send, events, passedAt } = start({ abort: { status: 418 } });
    assert.equal(await send().outcome, 'fault_injected 418');
    assert.deepEqual([events, passedAt], [['abort'], []]);
  });

  test('holds a request for as long as it is told, and says so', async () => {
    const { send, clock, passedAt, events } = start({ delay: { fixed: '200ms' } });
    const { over, outcome } = send();
    await clock.advance(199);
    assert.deepEqual(passedAt, []);
    await clock.advance(1);
    assert.equal(await outcome, 200);
    assert.deepEqual([passedAt, events, over.flags], [[200], ['delay'], 'DI']);
  });

  test('holds first and aborts then', async () => {
    const { send, clock, events } = start({ delay: { fixed: 100 }, abort: { status: 500 } });
    const { over, outcome } = send();
    await clock.advance(100);
    assert.equal(await outcome, 'fault_injected 500');
    assert.deepEqual([events, over.flags], [['delay', 'abort'], 'DI']);
  });

  test('lets a request go at once when its client leaves, and keeps no timer for it', async () => {
    const { send, clock, passedAt, events } = start({ delay: { fixed: '1m' }, maxActive: 1 });
    const { over, outcome } = send();
    await clock.advance(10);
    over.cancellation.cancel(new ProxyError('client_closed'));
    assert.equal(await outcome, 'client_closed 499');
    const next = send();
    await clock.advance(60_000);
    assert.equal(await next.outcome, 200);
    assert.deepEqual([passedAt, events, clock.pending], [[60_010], ['delay', 'delay'], 0], 'its place is free');
  });

  test('a request whose client has left before is not held', async () => {
    const { send, clock } = start({ delay: { fixed: '1m' } });
    const over = exchange();
    over.cancellation.cancel(new ProxyError('client_closed'));
    assert.equal(await send({}, over).outcome, 'client_closed 499');
    await clock.advance(60_000);
    assert.equal(clock.pending, 0);
  });

  test('holds no more at a time than it may: the others pass without a fault', async () => {
    const { send, clock, events, passedAt } = start({ delay: { fixed: '1s' }, abort: { status: 503 }, maxActive: 2 });
    const sent = [send(), send(), send()];
    await clock.advance(0);
    assert.deepEqual([events, passedAt], [['delay', 'delay', 'suppressed'], [0]]);
    await clock.advance(1_000);
    assert.deepEqual(await Promise.all(sent.map(({ outcome }) => outcome)), ['fault_injected 503', 'fault_injected 503', 200]);
  });

  test('breaks the share that it is told, of each kind by itself', async () => {
    const { send, clock, events } = start({ delay: { fixed: 1, percent: 10 }, abort: { status: 503, percent: 2.5 }, maxActive: 100_000 });
    const sent = Array.from({ length: 20_000 }, () => send().outcome);
    await clock.advance(10);
    const aborted = (await Promise.all(sent)).filter((outcome) => outcome !== 200).length;
    const delayed = events.filter((event) => event === 'delay').length;
    // Five standard deviations.
    assert.ok(Math.abs(aborted - 500) < 110, String(aborted));
    assert.ok(Math.abs(delayed - 2_000) < 212, String(delayed));
  });

  const conditions: readonly (readonly [name: string, config: object, fields: Record<string, string>, strikes: boolean])[] = [
    ['a field with its value', { headers: { 'X-Fault': 'on' } }, { 'x-fault': 'on' }, true],
    ['a field with another value', { headers: { 'X-Fault': 'on' } }, { 'x-fault': 'off' }, false],
    ['no field', { headers: { 'X-Fault': 'on' } }, {}, false],
    ['a field that must be there, and a cookie too', { headers: { 'X-Fault': { present: true } }, cookies: { tester: 'yes' } }, { 'x-fault': 'x', cookie: 'tester=yes' }, true],
    ['a field that must be there, without the cookie', { headers: { 'X-Fault': { present: true } }, cookies: { tester: 'yes' } }, { 'x-fault': 'x' }, false],
    ['a query parameter', { query: { debug: '1' } }, {}, true],
  ];
  for (const [name, config, fields, strikes] of conditions) {
    test(`${strikes ? 'strikes' : 'spares'} a request with ${name}`, async () => {
      assert.equal(await start({ abort: { status: 503 }, ...config }).send(fields).outcome, strikes ? 'fault_injected 503' : 200);
    });
  }
});
