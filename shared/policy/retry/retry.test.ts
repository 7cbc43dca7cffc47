import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { delay } from '../../clock/clock.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { retrySchema } from '../../config/policies.js';
import { retryBudgetSchema } from '../../config/resilience.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { StreamBody, type Body } from '../../http/body.js';
import { Headers } from '../../http/headers.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { exchange, request, response, upload } from '../../../tests/support/policy.js';
import { stack } from '../../http/service.js';
import { deadline } from '../deadline/deadline.js';
import { seeded } from '../../../tests/support/seeded.js';
import { RetryBudget } from './retry-budget.js';
import { retry, type RetryEvent } from './retry.js';

type Step = number | ErrorCode | { status: number; retryAfter: string };

/** A policy over a `next` that plays steps one after the other, and what became of it. */
function play(steps: readonly Step[], config: object = {}, random = 0.5) {
  const clock = new FakeClock();
  const events: RetryEvent[] = [];
  const sentAt: number[] = [];
  const received: HttpRequest[] = [];
  const parsed = retrySchema.parse(config);
  const budget = new RetryBudget(parsed.budget ?? retryBudgetSchema.parse({}), clock);
  const layer = retry(parsed, { clock, random: () => random, budget, onEvent: (event) => events.push(event) });
  const service = layer((attempt): Promise<HttpResponse> => {
    sentAt.push(clock.now());
    received.push(attempt);
    const step = steps[Math.min(sentAt.length, steps.length) - 1]!;
    if (typeof step === 'string') return Promise.reject(new ProxyError(step));
    return Promise.resolve(typeof step === 'number' ? response(step) : response(step.status, { 'Retry-After': step.retryAfter }));
  });
  return { clock, budget, events, sentAt, received, service };
}

const outcomes: readonly (readonly [name: string, steps: readonly Step[], config: object, changes: Parameters<typeof request>[1], attempts: number, outcome: number | ErrorCode])[] = [
  ['tries again after 503, and passes the good answer on', [503, 200], {}, {}, 2, 200],
  ['tries again after a refused connection', ['upstream_connect_failed', 200], {}, {}, 2, 200],
  ['tries again after a reset', ['upstream_reset', 200], {}, {}, 2, 200],
  ['does not try again after 500 by default', [500, 200], {}, {}, 1, 500],
  ['tries again after 500 when told 5xx', [500, 200], { on: ['5xx'] }, {}, 2, 200],
  ['tries again after a listed status', [429, 200], { on: [429] }, {}, 2, 200],
  ['does not try again after a timeout when told other things', ['upstream_timeout', 200], { on: ['reset', 'connect-failure'] }, {}, 1, 'upstream_timeout'],
  ['tries again after a timeout by default, since 504 is a gateway-error', ['upstream_timeout', 200], {}, {}, 2, 200],
  ['does not try again when the deadline is over', ['deadline_exceeded', 200], { on: ['5xx', 'timeout'] }, {}, 1, 'deadline_exceeded'],
  ['tries again after a conflict when told retriable-4xx', [409, 200], { on: ['retriable-4xx'] }, {}, 2, 200],
  ['tries again after a refusal of our own pool', ['upstream_queue_full', 200], { on: ['refused'] }, { method: 'POST' }, 2, 200],
  ['does not take a refusal for a failure to connect', ['breaker_open', 200], { on: ['connect-failure'] }, {}, 1, 'breaker_open'],
  ['tries again after a timeout when told', ['upstream_timeout', 200], { on: ['timeout'] }, {}, 2, 200],
  ['stops at the number of attempts and passes the last answer on', [503, 503, 503, 200], { attempts: 3 }, {}, 3, 503],
  ['stops at the number of attempts and passes the last error on', ['upstream_reset'], { attempts: 3 }, {}, 3, 'upstream_reset'],
  ['does not repeat a POST that may have been processed', [503, 200], {}, { method: 'POST' }, 1, 503],
  ['does not repeat a POST after a reset', ['upstream_reset', 200], {}, { method: 'POST' }, 1, 'upstream_reset'],
  ['repeats a POST whose connection was refused', ['upstream_connect_failed', 200], {}, { method: 'POST' }, 2, 200],
  ['repeats a PATCH with an Idempotency-Key when told', [503, 200], { idempotencyKey: true }, { method: 'PATCH', fields: { 'Idempotency-Key': '"8e03978e"' } }, 2, 200],
  ['does not repeat one without being told', [503, 200], {}, { method: 'POST', fields: { 'Idempotency-Key': '"8e03978e"' } }, 1, 503],
  ['does not repeat one whose key is empty', [503, 200], { idempotencyKey: true }, { method: 'POST', fields: { 'Idempotency-Key': '' } }, 1, 503],
  ['does not repeat what a proxy in front is repeating', [503, 200], {}, { fields: { 'X-Envoy-Attempt-Count': '2' } }, 1, 503],
  ['repeats even that when nothing was sent', ['upstream_connect_failed', 200], {}, { fields: { 'X-Envoy-Attempt-Count': '2' } }, 2, 200],
  ['repeats what a proxy in front is repeating when told', [503, 200], { whenRetried: 'allow' }, { fields: { 'X-Envoy-Attempt-Count': '2' } }, 2, 200],
  ['does not take nonsense for an attempt number', [503, 200], {}, { fields: { 'X-Envoy-Attempt-Count': '2e1' } }, 2, 200],
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

  for (const [name, retryAfter, expected] of [
    ['in seconds', '2', 2_000],
    ['as a date', 'Thu, 01 Jan 2026 00:00:02 GMT', 2_000],
    ['as a date that is over', 'Wed, 31 Dec 2025 23:59:59 GMT', 0],
    ['not when it makes no sense', '2s', 0],
  ] as const) {
    test(`honours Retry-After ${name}, and waits a random time beyond it`, async () => {
      const run = play([{ status: 503, retryAfter }, 200], { backoff: { base: 100, max: 100 } }, 0.5);
      const over = exchange();
      const result = run.service(request(over), over);
      await run.clock.advance(10_000);
      assert.equal((await result).status, 200);
      assert.deepEqual(run.sentAt, [0, expected + 50]);
    });
  }

  const late: readonly (readonly [name: string, leftMs: number, steps: readonly Step[], attempts: number])[] = [
    ['makes no attempt for which no time is left', 50, [503, 200], 1],
    ['makes one for which there is', 51, [503, 200], 2],
    ['does not wait for a Retry-After beyond the deadline', 1_000, [{ status: 503, retryAfter: '1' }, 200], 1],
  ];
  for (const [name, leftMs, steps, attempts] of late) {
    test(name, async () => {
      const run = play(steps, { backoff: { base: 100, max: 100 } }, 0.5);
      const over = exchange();
      over.deadlineAt = leftMs;
      const result = run.service(request(over), over);
      await run.clock.advance(10_000);
      assert.equal((await result).status, attempts === 1 ? 503 : 200);
      assert.equal(run.sentAt.length, attempts);
      assert.equal(run.events.length, attempts - 1, 'nothing was taken out of the budget for nothing');
    });
  }

  for (const [name, uploadMs, fields, attempts] of [
    ['has all of its time after an upload, however long that took', 1_500, {}, 2],
    ['has it after one that took longer than the time', 15_000, {}, 2],
    ['has no more than its caller gives, upload and all', 1_500, { 'X-Envoy-Expected-Rq-Timeout-Ms': '2200' }, 1],
  ] as const) {
    test(`${name}: a Retry-After within it is waited for`, async () => {
      const run = play([], {});
      const over = exchange();
      const layers = stack([deadline(2_000, run), retry(retrySchema.parse({}), { ...run, random: () => 0 })], async () => {
        run.sentAt.push(run.clock.now());
        if (run.sentAt.length > 1) return response(200);
        await delay(run.clock, uploadMs);
        return response(503, { 'Retry-After': '1' });
      });
      const result = layers(request(over, { method: 'PUT', fields, body: upload(0, uploadMs) }), over);
      await run.clock.advance(60_000);
      over.status = (await result).status;
      over.finish(run.clock.now());
      assert.deepEqual([over.status, run.sentAt], attempts === 2 ? [200, [0, uploadMs + 1_000]] : [503, [0]]);
      assert.equal(run.clock.pending, 0);
    });
  }

  test('notes on the exchange that all attempts were used up, and only then', async () => {
    for (const [steps, config, exhausted] of [[[503], {}, true], [[503, 200], {}, false], [[404], {}, false], [[503], { attempts: 1 }, false]] as const) {
      const run = play(steps, config);
      const over = exchange();
      const result = run.service(request(over), over);
      await run.clock.advance(1_000);
      await result;
      assert.equal(over.retriesExhausted, exhausted, JSON.stringify(steps));
    }
  });

  test('notes on the exchange that a retry was wanted and there was no room for it, and only then', async () => {
    const none = { ratio: 0, minPerSecond: 0 };
    for (const [steps, config, refused] of [[[503], { budget: none }, true], [[404], { budget: none }, false], [[503], { budget: none, attempts: 1 }, false], [[503], {}, false]] as const) {
      const run = play(steps, config);
      const over = exchange();
      const result = run.service(request(over), over);
      await run.clock.advance(1_000);
      await result;
      assert.equal(over.isRetryRefused, refused, JSON.stringify([steps, config]));
    }
  });

  test('what is a retry already adds nothing to the budget', async () => {
    const run = play([503], { whenRetried: 'allow', budget: { ratio: 1, minPerSecond: 0 }, backoff: { base: 0, max: 0 } });
    for (const fields of [{ 'X-Envoy-Attempt-Count': '2' }, {}, {}] as Record<string, string>[]) {
      const over = exchange();
      const result = run.service(request(over, { fields }), over);
      await run.clock.advance(1);
      await result;
    }
    assert.deepEqual(run.events, ['budget_exhausted', 'retried', 'retried']);
  });

  test('the wait is uniform between nothing and its bound (seeded)', async () => {
    const random = seeded(42);
    const clock = new FakeClock();
    const waits: number[] = [];
    let failedAt: number | undefined;
    const budget = { deposit: () => {}, withdraw: () => true } as unknown as RetryBudget;
    const service = retry(retrySchema.parse({ attempts: 4, backoff: { base: 100, max: 300 } }), { clock, random, budget })(async () => {
      if (failedAt !== undefined) waits.push(clock.now() - failedAt);
      failedAt = clock.now();
      return response(503);
    });
    for (let index = 0; index < 500; index++) {
      failedAt = undefined;
      const over = exchange();
      const result = service(request(over), over);
      await clock.advance(1_000);
      await result;
    }
    [100, 200, 300].forEach((bound, retryIndex) => {
      const own = waits.filter((_wait, index) => index % 3 === retryIndex).map((wait) => wait / bound);
      assert.ok(own.every((share) => share >= 0 && share < 1), `retry ${retryIndex + 1} stays below ${bound} ms`);
      // Kolmogorov-Smirnov against the uniform distribution: 1.63 / sqrt(n) is its bound at 1%.
      const distance = Math.max(...own.sort((a, b) => a - b).map((share, index) => Math.max(Math.abs(share - index / own.length), Math.abs(share - (index + 1) / own.length))));
      assert.ok(distance < 1.63 / Math.sqrt(own.length), `retry ${retryIndex + 1}: distance ${distance}`);
    });
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

  test('a client that leaves while it waits for a retry costs the budget nothing', async () => {
    const run = play([503], { attempts: 2, budget: { ratio: 0, minPerSecond: 1, window: 10_000 }, backoff: { base: 1_000, max: 1_000 } });
    const start = () => {
      const over = exchange();
      return { over, result: run.service(request(over), over) };
    };
    for (let index = 0; index < 20; index++) {
      const { over, result } = start();
      await run.clock.advance(1);
      over.cancellation.cancel(new ProxyError('client_closed'));
      await assert.rejects(result, { code: 'client_closed' });
    }
    assert.deepEqual([run.sentAt.length, run.events], [20, []]);
    const patient = start();
    await run.clock.advance(1_000);
    assert.equal((await patient.result).status, 503);
    assert.deepEqual([run.sentAt.length, run.events], [22, ['retried']]);
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

  for (const [code, sent] of [['breaker_open', 300], ['no_endpoint', 300], ['upstream_queue_full', 300], ['upstream_overloaded', 300], ['upstream_connect_failed', 120], ['upstream_refused', 120]] as const) {
    test(`retries that end with ${code} ${sent === 300 ? 'cost the budget nothing, since the upstream never saw them' : 'count, since the upstream had to do with them'}`, async () => {
      const run = play([code], { attempts: 3, budget: { ratio: 0.2, minPerSecond: 0, window: 10_000 }, backoff: { base: 0, max: 0 } });
      for (let index = 0; index < 100; index++) {
        const over = exchange();
        const result = run.service(request(over), over);
        const failed = assert.rejects(result, { code });
        await run.clock.advance(1);
        await failed;
      }
      // There is nothing to withdraw before five requests are counted.
      assert.ok(Math.abs(run.sentAt.length - sent) <= 10, String(run.sentAt.length));
    });
  }

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

  const bodies: readonly (readonly [name: string, cap: number, length: number | undefined, attempts: number])[] = [
    ['sends a streamed body again, with its trailers', 64, undefined, 2],
    ['sends one of known length again', 64, 11, 2],
    ['sends a body that is larger than what is kept once', 4, undefined, 1],
    ['sends one that is known to be larger once', 4, 11, 1],
  ];
  for (const [name, maxBodyBytes, length, attempts] of bodies) {
    test(name, async () => {
      const clock = new FakeClock();
      const seen: string[] = [];
      const service = retry(retrySchema.parse({ maxBodyBytes, backoff: { base: 0, max: 0 } }), { clock, random: () => 0, budget: new RetryBudget(retryBudgetSchema.parse({}), clock) })(async ({ body }) => {
        seen.push(await readWithTrailers(body));
        return response(seen.length < attempts ? 503 : attempts === 1 ? 503 : 200);
      });
      const over = exchange();
      const body = new StreamBody(length, { pause: () => {}, resume: () => {}, cancel: () => {} });
      const result = service(request(over, { method: 'PUT', body }), over);
      body.push(Buffer.from('hello '));
      body.push(Buffer.from('world'));
      body.end(Headers.of({ Digest: 'x' }));
      await clock.advance(10);
      await result;
      assert.deepEqual(seen, Array(attempts).fill('hello world Digest: x\r\n'));
    });
  }

  test('a body of any length is sent when the connection before could not be made', async () => {
    const clock = new FakeClock();
    let attempts = 0;
    const service = retry(retrySchema.parse({ maxBodyBytes: 4, backoff: { base: 0, max: 0 } }), { clock, random: () => 0, budget: new RetryBudget(retryBudgetSchema.parse({}), clock) })(async ({ body }) => {
      if (++attempts === 1) throw new ProxyError('upstream_connect_failed');
      return response(200, {}, await readWithTrailers(body));
    });
    const over = exchange();
    const body = new StreamBody(11, { pause: () => {}, resume: () => {}, cancel: () => {} });
    const result = service(request(over, { method: 'POST', body }), over);
    body.push(Buffer.from('hello world'));
    body.end();
    await clock.advance(10);
    assert.equal((await result).body.whole!.bytes.toString(), 'hello world ');
  });

  test('what comes between two attempts is not lost, even where it is more than is kept', async () => {
    const clock = new FakeClock();
    const seen: string[] = [];
    let isPaused = false;
    const body = new StreamBody(undefined, { pause: () => (isPaused = true), resume: () => (isPaused = false), cancel: () => {} });
    const service = retry(retrySchema.parse({ maxBodyBytes: 8, backoff: { base: 100, max: 100 } }), { clock, random: () => 0.5, budget: new RetryBudget(retryBudgetSchema.parse({}), clock) })(async ({ body: sent }) => {
      const text = readWithTrailers(sent, (chunk) => seen.push(chunk));
      if (seen.length === 1) throw new ProxyError('upstream_reset');
      return response(200, {}, await text);
    });
    const over = exchange();
    body.push(Buffer.from('begin '));
    const result = service(request(over, { method: 'PUT', body }), over);
    await clock.advance(10);
    body.push(Buffer.from('and a good deal more '));
    assert.deepEqual([seen, isPaused], [['begin '], true], 'nobody reads: the client waits');
    await clock.advance(100);
    assert.equal(isPaused, false);
    body.push(Buffer.from('end'));
    body.end();
    assert.equal((await result).body.whole!.bytes.toString(), 'begin and a good deal more end ');
  });

  const dropped: readonly (readonly [name: string, length: number | undefined, chunks: number, cancelled: boolean])[] = [
    ['a short one is read to its end', 100, 1, false],
    ['a chunked one is read to its end', undefined, 3, false],
    ['a long one takes its connection with it', 100_000, 1, true],
    ['one that turns out to be long too', undefined, 200, true],
  ];
  for (const [name, length, chunks, cancelled] of dropped) {
    test(`the answer of a failed attempt is dropped: ${name}`, async () => {
      const clock = new FakeClock();
      let wasCancelled = false;
      const body = new StreamBody(length, { pause: () => {}, resume: () => {}, cancel: () => (wasCancelled = true) });
      let attempts = 0;
      const service = retry(retrySchema.parse({}), { clock, random: () => 0, budget: new RetryBudget(retryBudgetSchema.parse({}), clock) })(async () => (++attempts === 1 ? { ...response(503), body } : response(200)));
      const over = exchange();
      const result = service(request(over), over);
      await clock.advance(0);
      for (let chunk = 0; chunk < chunks; chunk++) body.push(Buffer.alloc(100));
      if (!cancelled) body.end();
      await clock.advance(900);
      assert.equal((await result).status, 200);
      assert.equal(wasCancelled, cancelled);
      await clock.advance(10_000);
      assert.equal(wasCancelled, cancelled);
    });
  }

  test('an answer that is dropped and does not end takes its connection with it after a second', async () => {
    const clock = new FakeClock();
    let cancelledAt: number | undefined;
    const body = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => (cancelledAt = clock.now()) });
    let attempts = 0;
    const service = retry(retrySchema.parse({}), { clock, random: () => 0, budget: new RetryBudget(retryBudgetSchema.parse({}), clock) })(async () => (++attempts === 1 ? { ...response(503), body } : response(200)));
    const over = exchange();
    const result = service(request(over), over);
    await clock.advance(5_000);
    await result;
    assert.equal(cancelledAt, 1_000);
  });
});

function readWithTrailers(body: Body, onChunk?: (text: string) => void): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    body.pipe({
      chunk: (data) => {
        text += data.toString();
        onChunk?.(data.toString());
        return true;
      },
      end: (trailers) => resolve(`${text} ${trailers?.toWire() ?? ''}`),
      fail: reject,
    });
  });
}
