import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import { retrySchema } from '../../config/policies.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { collect, StreamBody } from '../../http/body.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { retry, type RetryEvent } from './retry.js';

type Step = number | ErrorCode | { status: number; retryAfter: string };

/** A policy over a `next` that plays steps one after the other, and what became of it. */
function play(steps: readonly Step[], config: object = {}, random = 0.5) {
  const clock = new FakeClock();
  const events: RetryEvent[] = [];
  const sentAt: number[] = [];
  const received: HttpRequest[] = [];
  const layer = retry(retrySchema.parse(config), { clock, random: () => random, onEvent: (event) => events.push(event) });
  const service = layer((attempt): Promise<HttpResponse> => {
    sentAt.push(clock.now());
    received.push(attempt);
    const step = steps[Math.min(sentAt.length, steps.length) - 1]!;
    if (typeof step === 'string') return Promise.reject(new ProxyError(step));
    return Promise.resolve(typeof step === 'number' ? response(step) : response(step.status, { 'Retry-After': step.retryAfter }));
  });
  return { clock, events, sentAt, received, service };
}

const outcomes: readonly (readonly [name: string, steps: readonly Step[], config: object, changes: Partial<HttpRequest>, attempts: number, outcome: number | ErrorCode])[] = [
  ['tries again after 503, and passes the good answer on', [503, 200], {}, {}, 2, 200],
  ['tries again after a refused connection', ['upstream_connect_failed', 200], {}, {}, 2, 200],
  ['tries again after a reset', ['upstream_reset', 200], {}, {}, 2, 200],
  ['does not try again after 500 by default', [500, 200], {}, {}, 1, 500],
  ['tries again after 500 when told 5xx', [500, 200], { on: ['5xx'] }, {}, 2, 200],
  ['tries again after a listed status', [429, 200], { on: [429] }, {}, 2, 200],
  ['does not try again after a timeout by default, since 504 of our own is no gateway-error of theirs', ['upstream_timeout', 200], { on: ['reset'] }, {}, 1, 'upstream_timeout'],
  ['tries again after a timeout when told', ['upstream_timeout', 200], { on: ['timeout'] }, {}, 2, 200],
  ['stops at the number of attempts and passes the last answer on', [503, 503, 503, 200], { attempts: 3 }, {}, 3, 503],
  ['stops at the number of attempts and passes the last error on', ['upstream_reset'], { attempts: 3 }, {}, 3, 'upstream_reset'],
  ['does not repeat a POST that may have been processed', [503, 200], {}, { method: 'POST' }, 1, 503],
  ['does not repeat a POST after a reset', ['upstream_reset', 200], {}, { method: 'POST' }, 1, 'upstream_reset'],
  ['repeats a POST whose connection was refused', ['upstream_connect_failed', 200], {}, { method: 'POST' }, 2, 200],
  ['does not try again what the caller got wrong', [404, 200], { on: ['5xx'] }, {}, 1, 404],
  ['does not try again what another policy refused', ['rate_limited', 200], { on: ['5xx', 'reset'] }, {}, 1, 'rate_limited'],
];

describe('retry', () => {
  for (const [name, steps, config, changes, attempts, outcome] of outcomes) {
    test(name, async () => {
      const run = play(steps, config);
      const over = exchange();
      const result = run.service(request(over, changes), over).then(
        ({ status }) => status,
        (error: unknown) => (error as ProxyError).code,
      );
      await run.clock.advance(10_000);
      assert.equal(await result, outcome);
      assert.equal(run.sentAt.length, attempts);
      assert.equal(run.clock.pending, 0, 'no timer is left');
    });
  }

  test('waits a random share of an exponential backoff', async () => {
    const run = play([503, 503, 503, 503], { attempts: 4, backoff: { base: 100, max: 250 } }, 0.5);
    const over = exchange();
    const result = run.service(request(over), over);
    await run.clock.advance(1_000);
    await result;
    // Half of 100, of 200, and of 400 cut to 250.
    assert.deepEqual(run.sentAt, [0, 50, 150, 275]);
  });

  test('honours Retry-After in seconds', async () => {
    const run = play([{ status: 503, retryAfter: '2' }, 200], {});
    const over = exchange();
    const result = run.service(request(over), over);
    await run.clock.advance(1_999);
    assert.deepEqual(run.sentAt, [0]);
    await run.clock.advance(1);
    assert.equal((await result).status, 200);
    assert.deepEqual(run.sentAt, [0, 2_000]);
  });

  test('passes an answer on whose Retry-After is long', async () => {
    const run = play([{ status: 503, retryAfter: '60' }, 200]);
    const over = exchange();
    assert.equal((await run.service(request(over), over)).status, 503);
    assert.equal(run.sentAt.length, 1);
  });

  test('stops waiting when the client leaves', async () => {
    const run = play([503, 200], { backoff: { base: 1_000, max: 1_000 } });
    const over = exchange();
    const result = run.service(request(over), over);
    await run.clock.advance(10);
    over.cancellation.cancel(new ProxyError('client_closed'));
    await assert.rejects(result, { code: 'client_closed' });
    await run.clock.advance(10_000);
    assert.equal(run.sentAt.length, 1);
    assert.equal(run.clock.pending, 0);
  });

  test('keeps retries within the budget, and says when it is used up', async () => {
    const run = play([503], { attempts: 2, budget: { ratio: 0.2, minPerSecond: 0, window: 10_000 }, backoff: { base: 0, max: 0 } });
    for (let index = 0; index < 100; index++) {
      const over = exchange();
      const result = run.service(request(over), over);
      await run.clock.advance(1);
      await result;
    }
    assert.equal(run.sentAt.length, 120);
    assert.equal(run.events.filter((event) => event === 'budget_exhausted').length, 80);
  });

  test('the budget forgets with time', async () => {
    const run = play([503], { attempts: 2, budget: { ratio: 0, minPerSecond: 1, window: 1_000 }, backoff: { base: 0, max: 0 } });
    const once = async (): Promise<void> => {
      const over = exchange();
      const result = run.service(request(over), over);
      await run.clock.advance(1);
      await result;
    };
    await once();
    await once();
    assert.equal(run.sentAt.length, 3);
    await run.clock.advance(2_000);
    await once();
    assert.equal(run.sentAt.length, 5);
  });

  const bodies: readonly (readonly [name: string, cap: number, attempts: number])[] = [
    ['sends a streamed body again', 64, 2],
    ['does not try again when the body was larger than what is kept', 4, 1],
  ];
  for (const [name, maxBodyBytes, attempts] of bodies) {
    test(name, async () => {
      const clock = new FakeClock();
      const seen: string[] = [];
      const service = retry(retrySchema.parse({ maxBodyBytes, backoff: { base: 0, max: 0 } }), { clock, random: () => 0 })(async ({ body }) => {
        seen.push((await collect(body, 1_000, () => new Error('too large'))).toString());
        return response(seen.length < attempts ? 503 : attempts === 1 ? 503 : 200);
      });
      const over = exchange();
      const body = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} });
      const result = service(request(over, { method: 'PUT', body }), over);
      body.push(Buffer.from('hello '));
      body.push(Buffer.from('world'));
      body.end();
      await clock.advance(10);
      await result;
      assert.deepEqual(seen, Array(attempts).fill('hello world'));
    });
  }
});
