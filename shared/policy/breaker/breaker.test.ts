import assert from 'node:assert/strict';
import { after, describe, mock, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import { breakerSchema } from '../../config/policies.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { breaker, type Breaker, type BreakerState } from './breaker.js';

/** Rejections that nobody takes are reported before it. */
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('breaker', () => {
  // opossum reads the system's clock and timers, so those are turned by hand here.
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
  after(() => mock.timers.reset());

  function start(config: object = {}) {
    const states: BreakerState[] = [];
    let sent = 0;
    let answer: () => number | ErrorCode = () => 200;
    const guard: Breaker = breaker(breakerSchema.parse({ volumeThreshold: 4, resetTimeout: 1_000, ...config }), { clock: new FakeClock(), name: 'test', onTransition: (state) => states.push(state) });
    const service = guard.layer(async () => {
      sent++;
      const outcome = answer();
      if (typeof outcome === 'number') return response(outcome);
      throw new ProxyError(outcome);
    });
    const call = async (outcome: number | ErrorCode): Promise<number | ErrorCode> => {
      answer = () => outcome;
      const over = exchange();
      return service(request(over), over).then(({ status }) => status, (error: unknown) => (error as ProxyError).code);
    };
    const calls = async (count: number, outcome: number | ErrorCode): Promise<(number | ErrorCode)[]> => {
      const all: (number | ErrorCode)[] = [];
      for (let index = 0; index < count; index++) all.push(await call(outcome));
      return all;
    };
    return { guard, states, call, calls, sent: () => sent };
  }

  test('opens at its share of failures, and then refuses without sending', async () => {
    const { guard, call, calls, states, sent } = start();
    await calls(2, 200);
    assert.deepEqual(await calls(2, 503), [503, 503], 'answers pass as they came');
    assert.equal(guard.state(), 'open');
    assert.equal(guard.accepts(), false);
    assert.equal(await call(200), 'breaker_open');
    assert.equal(sent(), 4);
    assert.deepEqual(states, ['open']);
    guard.close();
  });

  test('does not open below its volume', async () => {
    const { guard, calls } = start();
    await calls(3, 500);
    assert.equal(guard.state(), 'closed');
    guard.close();
  });

  const neutral: readonly (readonly [name: string, outcome: number | ErrorCode])[] = [
    ['answers below 500', 404],
    ['clients that leave', 'client_closed'],
    ['refusals of our own', 'upstream_queue_full'],
    ['deadlines of the caller', 'deadline_exceeded'],
  ];
  for (const [name, outcome] of neutral) {
    test(`does not open for ${name}`, async () => {
      const { guard, calls } = start();
      assert.deepEqual(await calls(10, outcome), Array(10).fill(outcome));
      assert.equal(guard.state(), 'closed');
      guard.close();
    });
  }

  for (const failure of ['upstream_connect_failed', 'upstream_reset', 'upstream_timeout', 'upstream_protocol'] as const) {
    test(`opens for ${failure}`, async () => {
      const { guard, calls } = start();
      await calls(4, failure);
      assert.equal(guard.state(), 'open');
      guard.close();
    });
  }

  test('lets one probe through when it is half-open, and closes when the probe succeeds', async () => {
    const { guard, call, calls, states } = start();
    await calls(4, 503);
    mock.timers.tick(1_000);
    assert.equal(guard.state(), 'half-open');
    assert.equal(guard.accepts(), true);
    const probe = call(200);
    assert.equal(guard.accepts(), false, 'a second request must not follow the probe');
    assert.equal(await call(200), 'breaker_open');
    assert.equal(await probe, 200);
    assert.equal(guard.state(), 'closed');
    assert.deepEqual(states, ['open', 'half-open', 'closed']);
    guard.close();
  });

  for (const [name, outcome] of [['fails', 503], ['proves nothing, since the client left', 'client_closed']] as const) {
    test(`opens again when the probe ${name}`, async () => {
      const { guard, call, calls } = start();
      await calls(4, 503);
      mock.timers.tick(1_000);
      assert.equal(await call(outcome), outcome);
      assert.equal(guard.state(), 'open');
      guard.close();
    });
  }

  /** Requests whose outcome the test decides, one by one. */
  function held(config: object = {}) {
    const settlers: ((outcome: number | ErrorCode) => void)[] = [];
    const clock = new FakeClock();
    const guard = breaker(breakerSchema.parse({ volumeThreshold: 4, resetTimeout: 1_000, ...config }), { clock, name: 'held' });
    const service = guard.layer(
      () => new Promise((resolve, reject) => settlers.push((outcome) => (typeof outcome === 'number' ? resolve(response(outcome)) : reject(new ProxyError(outcome))))),
    );
    const send = (): Promise<unknown> => {
      const over = exchange();
      return service(request(over), over).then(({ status }) => status, (error: unknown) => (error as ProxyError).code);
    };
    return { guard, send, settlers, clock };
  }

  test('counts outcomes: what is still under way, or was broken off by its client, makes no failure look rarer', async () => {
    const { guard, send, settlers } = held();
    const all = Array.from({ length: 40 }, send);
    for (let index = 0; index < 30; index++) settlers[index]!('client_closed');
    for (let index = 30; index < 34; index++) settlers[index]!(503);
    await Promise.all(all.slice(0, 34));
    assert.equal(guard.state(), 'open', '4 of 4 that had an outcome failed');
    guard.close();
  });

  test('of many requests at once, one is the probe', async () => {
    const { guard, send, settlers } = held();
    const failing = Array.from({ length: 4 }, send);
    settlers.splice(0).forEach((settle) => settle(503));
    await Promise.all(failing);
    mock.timers.tick(1_000);
    const all = Array.from({ length: 50 }, send);
    assert.equal(settlers.length, 1);
    settlers[0]!(200);
    const outcomes = await Promise.all(all);
    assert.deepEqual(outcomes.filter((outcome) => outcome === 200).length, 1);
    assert.equal(guard.state(), 'closed');
    guard.close();
  });

  for (const late of [200, 503, 'upstream_reset'] as const) {
    test(`a request from before it opened that ends with ${late} while the probe is under way decides nothing`, async () => {
      const { guard, send, settlers } = held();
      const all = Array.from({ length: 5 }, send);
      settlers.slice(1).forEach((settle) => settle(503));
      await Promise.all(all.slice(1));
      mock.timers.tick(1_000);
      const probe = send();
      settlers[0]!(late);
      assert.equal(await all[0], late, 'its caller gets it as it came');
      assert.equal(guard.state(), 'half-open');
      assert.equal(await send(), 'breaker_open', 'there is no second probe');
      settlers[5]!(200);
      await probe;
      assert.equal(guard.state(), 'closed');
      guard.close();
    });
  }

  /** Half-open, with a probe under way that nobody answers. */
  async function probed() {
    const run = held();
    const failing = Array.from({ length: 4 }, run.send);
    run.settlers.splice(0).forEach((settle) => settle(503));
    await Promise.all(failing);
    mock.timers.tick(1_000);
    return { ...run, hanging: run.send() };
  }

  for (const [outcome, state] of [[200, 'closed'], [503, 'open'], ['client_closed', 'open']] as const) {
    test(`a probe that hangs for another reset time keeps nobody out: one more is sent, whose ${outcome} makes the breaker ${state}`, async () => {
      const { guard, send, settlers, clock, hanging } = await probed();
      await clock.advance(999);
      assert.equal(guard.accepts(), false);
      assert.equal(await send(), 'breaker_open');
      await clock.advance(1);
      assert.equal(guard.accepts(), true);
      const further = send();
      assert.equal(guard.accepts(), false, 'one at a time');
      settlers[1]!(outcome);
      assert.equal(await further, outcome);
      assert.equal(guard.state(), state);
      settlers[0]!(state === 'closed' ? 'upstream_timeout' : 200);
      await hanging;
      assert.equal(guard.state(), state, 'the first one comes too late');
      assert.equal(clock.pending, 0);
      guard.close();
    });
  }

  test('the first of two probes decides as well, if it is answered first', async () => {
    const { guard, send, settlers, clock, hanging } = await probed();
    await clock.advance(1_000);
    const further = send();
    settlers[0]!(200);
    assert.equal(await hanging, 200);
    assert.equal(guard.state(), 'closed');
    settlers[1]!('upstream_timeout');
    assert.equal(await further, 'upstream_timeout');
    assert.equal(guard.state(), 'closed');
    assert.equal(clock.pending, 0);
    guard.close();
  });

  test('closing it while a probe is under way leaves no timer', async () => {
    const { guard, clock, settlers, hanging } = await probed();
    guard.close();
    assert.equal(clock.pending, 0);
    settlers[0]!(200);
    await hanging;
  });

  // A rejection that nobody took would fail the test, as it would end a proxy.
  for (const outcome of [200, 503, 'upstream_reset', 'client_closed'] as const) {
    test(`closing it while requests are under way: one that ends with ${outcome} passes as it came`, async () => {
      const { guard, send, settlers, clock } = held();
      const all = Array.from({ length: 5 }, send);
      guard.close();
      settlers.forEach((settle) => settle(outcome));
      assert.deepEqual(await Promise.all(all), Array.from({ length: 5 }, () => outcome));
      await nextTurn();
      assert.equal(clock.pending, 0);
    });

    test(`closing it while probes are under way: ones that end with ${outcome} pass as they came`, async () => {
      const { guard, send, settlers, clock, hanging } = await probed();
      await clock.advance(1_000);
      const further = send();
      guard.close();
      settlers.forEach((settle) => settle(outcome));
      assert.deepEqual(await Promise.all([hanging, further]), [outcome, outcome]);
      await nextTurn();
      assert.equal(clock.pending, 0);
    });
  }

  test('closing it ends its timers: nothing happens to it any more', async () => {
    const set = mock.method(globalThis, 'setInterval');
    const clear = mock.method(globalThis, 'clearInterval');
    const { guard, calls, states } = start();
    await calls(4, 503);
    guard.close();
    mock.timers.tick(60_000);
    assert.deepEqual(states, ['open'], 'it does not become half-open');
    assert.ok(set.mock.callCount() > 0);
    assert.equal(clear.mock.callCount(), set.mock.callCount(), 'the rolling window stands still');
    set.mock.restore();
    clear.mock.restore();
  });

  test('lets the last requests of a retired configuration through', async () => {
    const { guard, call } = start();
    guard.close();
    assert.equal(await call(200), 200);
  });
});
