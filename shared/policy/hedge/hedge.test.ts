import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import { retrySchema } from '../../config/policies.js';
import { hedgeSchema } from '../../config/resilience.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { outcomeMatcher } from '../../errors/retry-conditions.js';
import { WholeBody, StreamBody } from '../../http/body.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { seeded } from '../../../tests/support/seeded.js';
import { hedge, HedgeDelay, type HedgeEvent } from './hedge.js';

/** What an endpoint does: after so many milliseconds this status or error. */
type Step = readonly [ms: number, outcome: number | ErrorCode];

interface Sent {
  readonly at: number;
  readonly request: HttpRequest;
  cancelledAt: number | undefined;
}

/** Endpoints `one`, `two`, ... are tried in turn, each with its step. */
function play(steps: readonly Step[], config: object = { delay: 50 }, { withdraw = (): boolean => true, endpoints = 9 } = {}) {
  const clock = new FakeClock();
  const events: HedgeEvent[] = [];
  const sent: Sent[] = [];
  let deposits = 0;
  let givenBack = 0;
  const parsed = hedgeSchema.parse(config);
  const delay = new HedgeDelay(parsed);
  const layer = hedge(parsed, delay, {
    clock, budget: { deposit: () => deposits++, withdraw, giveBack: () => givenBack++ }, deposits: true, isFailure: outcomeMatcher(retrySchema.parse({}).on), hasAnother: ({ tried }) => endpoints > tried.length, onEvent: (event) => events.push(event),
  });
  const service = layer((attempt, over): Promise<HttpResponse> => {
    const entry: Sent = { at: clock.now(), request: attempt, cancelledAt: undefined };
    const [ms, outcome] = steps[Math.min(sent.length, steps.length - 1)]!;
    sent.push(entry);
    const name = `endpoint-${sent.length}`;
    over.tried.push(name);
    over.endpoint = name;
    return new Promise((resolve, reject) => {
      const timer = clock.after(ms, () => (typeof outcome === 'number' ? resolve(response(outcome, {}, name)) : reject(new ProxyError(outcome))));
      attempt.cancellation.onCancel((reason) => {
        timer.cancel();
        entry.cancelledAt = clock.now();
        reject(reason);
      });
    });
  });
  const call = async (changes: Parameters<typeof request>[1] = {}): Promise<{ outcome: number | string; at: number; endpoint: string | undefined; body: string }> => {
    const over = exchange();
    return service(request(over, changes), over).then(
      ({ status, body }) => ({ outcome: status, at: clock.now(), endpoint: over.endpoint, body: body.whole!.bytes.toString() }),
      (error: unknown) => ({ outcome: (error as ProxyError).code, at: clock.now(), endpoint: over.endpoint, body: '' }),
    );
  };
  const once = async (changes?: Parameters<typeof request>[1]): Promise<Awaited<ReturnType<typeof call>>> => {
    const result = call(changes);
    await clock.advance(5_000);
    return result;
  };
  return { clock, events, sent, once, call, delay, service, deposits: () => deposits, givenBack: () => givenBack };
}

const races: readonly (readonly [name: string, steps: readonly Step[], config: object, outcome: number | string, at: number, attempts: number, endpoint: string, events: HedgeEvent[]])[] = [
  ['a fast answer is not hedged', [[49, 200]], { delay: 50 }, 200, 49, 1, 'endpoint-1', []],
  ['a slow one is, and the hedge wins', [[1_000, 200], [10, 200]], { delay: 50 }, 200, 60, 2, 'endpoint-2', ['won']],
  ['a hedge may lose', [[60, 200], [1_000, 200]], { delay: 50 }, 200, 60, 2, 'endpoint-1', ['lost']],
  ['a failure before its turn is left to the retry', [[10, 503], [10, 200]], { delay: 50 }, 503, 10, 1, 'endpoint-1', []],
  ['a failure is no answer while the other is under way', [[80, 503], [100, 200]], { delay: 50 }, 200, 150, 2, 'endpoint-2', ['won']],
  ['nor is a failure of the hedge', [[200, 200], [10, 'upstream_reset']], { delay: 50 }, 200, 200, 2, 'endpoint-1', ['lost']],
  ['an answer that no retry would follow wins, whatever it is', [[1_000, 200], [10, 404]], { delay: 50 }, 404, 60, 2, 'endpoint-2', ['won']],
  ['when all fail, the last failure is the outcome', [[60, 503], [100, 'upstream_reset']], { delay: 50 }, 'upstream_reset', 150, 2, 'endpoint-2', ['lost']],
  ['as many attempts as are allowed, each in its turn', [[1_000, 200], [1_000, 200], [10, 200]], { delay: 50, maxAttempts: 3 }, 200, 110, 3, 'endpoint-3', ['won']],
];

describe('hedge', () => {
  for (const [name, steps, config, outcome, at, attempts, endpoint, events] of races) {
    test(name, async () => {
      const run = play(steps, config);
      const result = await run.once();
      assert.deepEqual([result.outcome, result.at, result.endpoint], [outcome, at, endpoint]);
      assert.equal(run.sent.length, attempts);
      assert.deepEqual(run.events, events);
      assert.equal(run.clock.pending, 0, 'no timer is left');
    });
  }

  test('the loser is cancelled the moment the other is answered, for a reason that blames nobody', async () => {
    const run = play([[1_000, 200], [10, 200]]);
    await run.once();
    assert.deepEqual(run.sent.map(({ cancelledAt }) => cancelledAt), [60, undefined]);
    const { reason } = run.sent[0]!.request.cancellation;
    assert.ok(reason !== undefined && !(reason instanceof ProxyError));
  });

  test('a client that leaves cancels every attempt, also once the answer has begun', async () => {
    for (const steps of [[[1_000, 200]], [[1_000, 200], [10, 200]]] as Step[][]) {
      const run = play(steps);
      const over = exchange();
      const result = run.service(request(over), over).catch(() => {});
      await run.clock.advance(70);
      over.cancellation.cancel(new ProxyError('client_closed'));
      await run.clock.advance(1_000);
      await result;
      assert.ok(run.sent.every(({ request: { cancellation } }) => cancellation.isCancelled));
    }
  });

  const plain: readonly (readonly [name: string, changes: Parameters<typeof request>[1]])[] = [
    ['a method that is not listed', { method: 'POST' }],
    ['a body that is not whole in memory', { body: new StreamBody(5, { pause: () => {}, resume: () => {}, cancel: () => {} }) }],
    ['a switch of protocols', { upgrade: 'websocket' }],
    ['what a proxy in front sent again', { fields: { 'X-Envoy-Attempt-Count': '2' } }],
  ];
  for (const [name, changes] of plain) {
    test(`does not hedge ${name}`, async () => {
      const run = play([[1_000, 200]]);
      assert.equal((await run.once(changes)).at, 1_000);
      assert.equal(run.sent.length, 1);
    });
  }

  test('a request that a proxy in front sent again adds nothing to the budget', async () => {
    const run = play([[10, 200]]);
    await run.once();
    await run.once({ fields: { 'X-Envoy-Attempt-Count': '2' } });
    assert.equal(run.deposits(), 1);
  });

  test('sends a whole body twice', async () => {
    const run = play([[1_000, 200], [10, 200]]);
    await run.once({ body: new WholeBody(Buffer.from('query')) });
    assert.deepEqual(run.sent.map(({ request: { body } }) => body.whole!.bytes.toString()), ['query', 'query']);
  });

  test('does not hedge when there is nowhere else to go, or the budget is used up, and says so', async () => {
    const alone = play([[1_000, 200]], { delay: 50 }, { endpoints: 1 });
    await alone.once();
    assert.deepEqual([alone.sent.length, alone.events], [1, []]);
    const poor = play([[1_000, 200]], { delay: 50 }, { withdraw: () => false });
    await poor.once();
    assert.deepEqual([poor.sent.length, poor.events], [1, ['budget_exhausted']]);
    assert.equal(poor.deposits(), 1);
  });

  for (const refusal of ['upstream_overloaded', 'upstream_queue_full', 'breaker_open', 'no_endpoint'] as const) {
    test(`a hedge that this proxy turns away (${refusal}) costs no budget, and has neither won nor lost`, async () => {
      const run = play([[200, 200], [0, refusal]]);
      assert.deepEqual([(await run.once()).at, run.sent.length, run.givenBack(), run.events], [200, 2, 1, ['turned_away']]);
      const more = play([[1_000, 200], [0, refusal], [10, 200]], { delay: 50, maxAttempts: 3 });
      assert.deepEqual([(await more.once()).at, more.givenBack(), more.events], [110, 1, ['turned_away', 'won']]);
    });
  }

  test('nothing is given back for a hedge that was sent, nor for a first attempt that was not', async () => {
    for (const steps of [[[200, 200], [10, 'upstream_connect_failed']], [[10, 'upstream_overloaded']], [[60, 'upstream_overloaded'], [100, 200]]] as Step[][]) {
      const run = play(steps);
      await run.once();
      assert.equal(run.givenBack(), 0, JSON.stringify(steps));
    }
  });

  test('with a percentile it waits until it knows enough, and then as long as the percentile says', async () => {
    const run = play([[10, 200]], { percentile: 90 });
    for (let index = 0; index < 120; index++) await run.once();
    assert.equal(run.events.length, 0);
    assert.ok(Math.abs(run.delay.current! - 10) <= 0.6, `${run.delay.current} ms`);
    assert.ok(run.delay.current! >= 10, 'rather late than early');
  });

  test('what was given up counts with the time it was waited for, or the percentile would sink below what is usual', async () => {
    const run = play([[100, 200], [10, 200]], { percentile: 90 });
    for (let now = 0; now < 150; now++) run.delay.observe(10, now * 10);
    for (let index = 0; index < 300; index++) {
      run.sent.length = 0;
      await run.once();
    }
    assert.ok(run.delay.current! > 20, `${run.delay.current} ms`);
  });

  test('one slow endpoint of twenty does not make the 99th percentile, at little additional load (seeded)', async () => {
    const without = await simulate(undefined);
    const withHedge = await simulate({ percentile: 90 });
    assert.ok(without.p99 > 150, `without: ${without.p99} ms`);
    assert.ok(withHedge.p99 < without.p99 / 3, `p99 ${withHedge.p99} ms, without ${without.p99} ms`);
    assert.ok(withHedge.p50 < without.p50 * 1.1, `p50 ${withHedge.p50} ms, without ${without.p50} ms`);
    assert.ok(withHedge.load < 1.15, `load ${withHedge.load}`);
    assert.ok(withHedge.delay! > 5 && withHedge.delay! < 60, `the percentile neither sinks nor rises for ever: ${withHedge.delay} ms`);
  });
});

/** 8,000 reads in virtual time over twenty endpoints at random: nineteen answer in about 10 ms, one in about 200, log-normally. */
async function simulate(config: object | undefined): Promise<{ p50: number; p99: number; load: number; delay: number | undefined }> {
  const clock = new FakeClock();
  const random = seeded(99);
  const normal = (): number => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const parsed = hedgeSchema.parse(config ?? { delay: 60_000 });
  const delay = new HedgeDelay(parsed);
  let attempts = 0;
  const service = hedge(parsed, delay, { clock, budget: { deposit: () => {}, withdraw: () => true, giveBack: () => {} }, deposits: false, isFailure: () => false, hasAnother: () => true })((attempt, over) => {
    attempts++;
    const fresh = Array.from({ length: 20 }, (_, index) => index).filter((endpoint) => !over.tried.includes(String(endpoint)));
    const endpoint = fresh[Math.floor(random() * fresh.length)]!;
    over.tried.push(String(endpoint));
    return new Promise((resolve, reject) => {
      const timer = clock.after((endpoint === 0 ? 200 : 10) * Math.exp(0.3 * normal()), () => resolve(response(200)));
      attempt.cancellation.onCancel((reason) => {
        timer.cancel();
        reject(reason);
      });
    });
  });
  const latencies: number[] = [];
  const results: Promise<unknown>[] = [];
  const requests = 8_000;
  for (let index = 0; index < requests; index++) {
    await clock.advance(-Math.log(1 - random()) * 5);
    const over = exchange();
    const startedAt = clock.now();
    results.push(service(request(over), over).then(() => index > requests / 4 && latencies.push(clock.now() - startedAt)));
  }
  await clock.advance(10_000);
  await Promise.all(results);
  latencies.sort((a, b) => a - b);
  const at = (share: number): number => latencies[Math.floor(latencies.length * share)]!;
  return { p50: at(0.5), p99: at(0.99), load: attempts / requests, delay: config && delay.current };
}
