import assert from 'node:assert/strict';
import { after, describe, mock, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import { breakerSchema } from '../../config/policies.js';
import { hedgeSchema } from '../../config/resilience.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { StreamBody } from '../../http/body.js';
import { Cancellation } from '../../http/cancellation.js';
import type { Exchange } from '../../http/exchange.js';
import { Headers } from '../../http/headers.js';
import { exchange, request, response, upload } from '../../../tests/support/policy.js';
import { hedge, HedgeDelay } from '../hedge/hedge.js';
import { breaker, type Breaker, type BreakerState } from './breaker.js';

const gone = new ProxyError('client_closed');

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

  test('opens again when the probe fails', async () => {
    const { guard, call, calls } = start();
    await calls(4, 503);
    mock.timers.tick(1_000);
    assert.equal(await call(503), 503);
    assert.equal(guard.state(), 'open');
    guard.close();
  });

  for (const nothing of ['client_closed', 'deadline_exceeded', 'upstream_queue_full'] as const) {
    test(`a probe that proves nothing (${nothing}) gives its place to the next request`, async () => {
      const { guard, call, calls, states } = start();
      await calls(4, 503);
      mock.timers.tick(1_000);
      assert.deepEqual(await calls(5, nothing), Array(5).fill(nothing));
      assert.equal(guard.state(), 'half-open');
      const probe = call(200);
      assert.equal(await call(200), 'breaker_open', 'one at a time');
      await probe;
      assert.deepEqual(states, ['open', 'half-open', 'closed']);
      guard.close();
    });
  }

  /** Requests whose outcome the test decides, one by one. */
  function held(changes: object = {}) {
    const settlers: ((outcome: number | ErrorCode) => void)[] = [];
    const discarded: Error[] = [];
    let brokenOff = 0;
    let isStreamed = false;
    const clock = new FakeClock();
    const config = breakerSchema.parse({ volumeThreshold: 4, resetTimeout: 1_000, ...changes });
    const guard = breaker(config, { clock, name: 'held' });
    const service = guard.layer(
      ({ cancellation }) => new Promise((resolve, reject) => {
        settlers.push((outcome) => {
          const body = isStreamed ? new StreamBody(7, { pause: () => {}, resume: () => {}, cancel: () => {} }) : response(200, {}, 'late').body;
          if (typeof outcome === 'number') resolve({ ...response(outcome), body: Object.assign(body, { cancel: (reason: Error) => discarded.push(reason) }) });
          else reject(new ProxyError(outcome));
        });
        cancellation.onCancel((reason) => {
          brokenOff++;
          reject(reason);
        });
      }),
    );
    const send = (changes: Parameters<typeof request>[1] = {}, over = exchange()): Promise<unknown> => {
      return service(request(over, changes), over).then(({ status }) => status, (error: unknown) => (error instanceof ProxyError ? error.code : error));
    };
    const failing = async (): Promise<void> => {
      const all = Array.from({ length: config.volumeThreshold }, () => send());
      settlers.splice(0).forEach((settle) => settle(503));
      await Promise.all(all);
    };
    return { guard, send, settlers, clock, service, failing, discarded, brokenOff: () => brokenOff, streamed: () => (isStreamed = true) };
  }

  test('counts outcomes: what is still under way, or was broken off by its client, makes no failure look rarer', async () => {
    const { guard, send, settlers } = held();
    const all = Array.from({ length: 40 }, () => send());
    for (let index = 0; index < 30; index++) settlers[index]!('client_closed');
    for (let index = 30; index < 34; index++) settlers[index]!(503);
    await Promise.all(all.slice(0, 34));
    assert.equal(guard.state(), 'open', '4 of 4 that had an outcome failed');
    guard.close();
  });

  test('of many requests at once, one is the probe', async () => {
    const { guard, send, settlers, failing } = held();
    await failing();
    mock.timers.tick(1_000);
    const all = Array.from({ length: 50 }, () => send());
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
      const all = Array.from({ length: 5 }, () => send());
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
  async function probed(changes: Parameters<typeof request>[1] = {}, config: object = {}) {
    const run = held(config);
    await run.failing();
    mock.timers.tick(1_000);
    const cancellation = new Cancellation();
    const over = exchange();
    return { ...run, cancellation, over, hanging: run.send({ ...changes, cancellation }, over) };
  }

  for (const [outcome, state] of [[200, 'closed'], [503, 'open']] as const) {
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

  test('one more that proves nothing gives its place back, too, and the first may still decide', async () => {
    const { guard, send, settlers, clock, hanging } = await probed();
    await clock.advance(1_000);
    for (let index = 1; index < 4; index++) {
      const further = send();
      assert.equal(await send(), 'breaker_open', 'one at a time');
      settlers[index]!('client_closed');
      assert.equal(await further, 'client_closed');
      assert.equal(guard.accepts(), true);
    }
    settlers[0]!(200);
    await hanging;
    assert.equal(guard.state(), 'closed');
    assert.equal(clock.pending, 0);
    guard.close();
  });

  test('one that proves nothing while one more is under way gives no place back: it had none', async () => {
    const { guard, send, settlers, clock, hanging } = await probed();
    await clock.advance(1_000);
    const further = send();
    settlers[0]!('client_closed');
    await hanging;
    assert.equal(guard.accepts(), false);
    settlers[1]!(200);
    await further;
    assert.equal(guard.state(), 'closed');
    guard.close();
  });

  test('a request that nobody waits for any more is no probe', async () => {
    const { guard, send, settlers, clock } = await probed();
    await clock.advance(1_000);
    const cancellation = new Cancellation();
    cancellation.cancel(gone);
    assert.equal(await send({ cancellation }), 'client_closed');
    assert.equal(settlers.length, 1);
    assert.equal(guard.accepts(), true);
    guard.close();
  });

  test('a probe that is still to come in part is broken off with its request, and gives its place back', async () => {
    const { guard, cancellation, clock, hanging, brokenOff } = await probed({ method: 'PUT', body: new StreamBody(7, { pause: () => {}, resume: () => {}, cancel: () => {} }) });
    cancellation.cancel(gone);
    assert.equal(await hanging, 'client_closed');
    assert.deepEqual([brokenOff(), guard.state(), guard.accepts(), clock.pending], [1, 'half-open', true, 0]);
    guard.close();
  });

  describe('a probe that its request gives up', () => {
    for (const [outcome, state] of [[200, 'closed'], [503, 'open'], ['upstream_timeout', 'open'], ['upstream_queue_full', 'half-open']] as const) {
      test(`goes on without it: its ${outcome} makes the breaker ${state}`, async () => {
        const { guard, send, settlers, clock, cancellation, over, hanging, discarded, brokenOff } = await probed();
        over.inform = () => assert.fail('the connection is not its any more');
        over.respondedAt = 7;
        cancellation.cancel(gone);
        assert.equal(await hanging, 'client_closed', 'who gave it up waits for nothing');
        (over.inform as Exchange['inform'])?.(103, Headers.empty());
        await clock.advance(500);
        assert.equal(await send(), 'breaker_open', 'it is still under way');
        over.respondedAt = 500;
        settlers[0]!(outcome);
        await clock.advance(0);
        assert.equal(over.respondedAt, 7, 'the exchange is not its any more');
        assert.deepEqual([guard.state(), guard.accepts()], [state, state !== 'open']);
        assert.deepEqual(discarded, typeof outcome === 'number' ? [gone] : []);
        assert.deepEqual([brokenOff(), clock.pending], [0, 0]);
        guard.close();
      });
    }

    test('is what hedging makes of one at an endpoint that is slower than the hedge', async () => {
      const { guard, settlers, clock, service, failing } = held({ volumeThreshold: 1 });
      await failing();
      mock.timers.tick(1_000);
      const config = hedgeSchema.parse({ delay: 50 });
      const hedged = hedge(config, new HedgeDelay(config), { clock, budget: { deposit: () => {}, withdraw: () => true, giveBack: () => {} }, deposits: false, isFailure: () => false, hasAnother: () => true })((attempt, over) => {
        over.tried.push(String(over.tried.length));
        return over.tried.length === 1 ? service(attempt, over) : Promise.resolve(response(200));
      });
      const over = exchange();
      const answer = hedged(request(over), over);
      await clock.advance(50);
      assert.equal((await answer).status, 200);
      assert.equal(guard.state(), 'half-open');
      settlers[0]!(200);
      await clock.advance(0);
      assert.equal(guard.state(), 'closed');
      guard.close();
    });

    test('is broken off when its time is over, and the next request is the probe', async () => {
      const { guard, send, settlers, clock, cancellation, brokenOff } = await probed();
      cancellation.cancel(gone);
      await clock.advance(999);
      assert.equal(brokenOff(), 0);
      await clock.advance(1);
      assert.deepEqual([brokenOff(), guard.state()], [1, 'half-open']);
      const next = send();
      assert.equal(await send(), 'breaker_open', 'one at a time');
      settlers[1]!(200);
      await next;
      assert.equal(guard.state(), 'closed');
      assert.equal(clock.pending, 0);
      guard.close();
    });

    test('is broken off at once when it had its time before', async () => {
      const { guard, clock, cancellation, hanging, brokenOff } = await probed();
      await clock.advance(1_000);
      cancellation.cancel(gone);
      assert.equal(await hanging, 'client_closed');
      assert.equal(brokenOff(), 1);
      guard.close();
    });

    test('is broken off when another one has decided', async () => {
      const { guard, send, settlers, clock, cancellation, hanging, brokenOff } = await probed();
      await clock.advance(1_000);
      const further = new Cancellation();
      const second = send({ cancellation: further });
      further.cancel(gone);
      assert.equal(await second, 'client_closed');
      settlers[0]!(200);
      await hanging;
      assert.deepEqual([guard.state(), brokenOff(), clock.pending], ['closed', 1, 0]);
      cancellation.cancel(gone);
      guard.close();
    });

    test('is broken off when the breaker is closed for good', async () => {
      const { guard, clock, cancellation, brokenOff } = await probed();
      cancellation.cancel(gone);
      guard.close();
      await clock.advance(0);
      assert.deepEqual([brokenOff(), clock.pending], [1, 0]);
    });
  });

  describe('an answer that began well and was broken off', () => {
    test('is a failure, and no success any more', async () => {
      const { guard, calls } = start({ errorThreshold: 100 });
      for (let index = 0; index < 4; index++) {
        assert.equal(guard.state(), 'closed');
        await calls(1, 200);
        guard.brokeOff(exchange());
        await nextTurn();
      }
      assert.equal(guard.state(), 'open', 'all of 4 failed');
      guard.brokeOff(exchange());
      assert.equal(guard.state(), 'open');
      guard.close();
    });

    test('is one among the others', async () => {
      const { guard, calls } = start({ errorThreshold: 50 });
      await calls(9, 200);
      for (let index = 0; index < 4; index++) guard.brokeOff(exchange());
      await nextTurn();
      assert.equal(guard.state(), 'closed', '4 of 9 failed');
      guard.brokeOff(exchange());
      await nextTurn();
      assert.equal(guard.state(), 'open');
      guard.close();
    });

    for (const [name, isFinished, state] of [['opens the breaker again when it was the probe’s', false, 'open'], ['is like any other once the probe’s answer was whole', true, 'closed']] as const) {
      test(name, async () => {
        const { guard, settlers, over, hanging, streamed } = await probed({}, { window: 500 });
        streamed();
        settlers[0]!(200);
        await hanging;
        assert.equal(guard.state(), 'closed');
        guard.brokeOff(exchange());
        await nextTurn();
        assert.equal(guard.state(), 'closed', 'another one’s is counted');
        if (isFinished) over.finish(0);
        guard.brokeOff(over);
        await nextTurn();
        assert.equal(guard.state(), state);
        guard.close();
      });
    }

    test('decides nothing while a probe is under way, nor when the breaker is closed for good', async () => {
      const { guard } = await probed();
      guard.brokeOff(exchange());
      await nextTurn();
      assert.equal(guard.state(), 'half-open');
      guard.close();
      guard.brokeOff(exchange());
      await nextTurn();
    });
  });

  test('a probe whose body is still to come keeps out no request that is whole', async () => {
    const { guard, send, settlers, clock } = await probed({ method: 'POST', body: upload(0, Infinity) });
    assert.deepEqual([guard.accepts(), guard.accepts(true)], [false, true]);
    assert.equal(await send({ method: 'POST', body: upload(0, Infinity) }), 'breaker_open');
    const whole = send();
    assert.deepEqual([guard.accepts(), guard.accepts(true)], [false, false], 'one at a time');
    settlers[1]!(200);
    assert.equal(await whole, 200);
    assert.equal(guard.state(), 'closed');
    assert.equal(clock.pending, 0);
    settlers[0]!(503);
    await nextTurn();
    assert.equal(guard.state(), 'closed');
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
      const all = Array.from({ length: 5 }, () => send());
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
