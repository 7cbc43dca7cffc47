import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { randomFrom } from '../../../tests/conformance/generate-case.js';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { FakeClock, settle } from '../../clock/fake-clock.js';
import { mirrorSchema } from '../../config/shaping.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { WholeBody, collect, StreamBody, type Body } from '../../http/body.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import { mirror, type MirrorOutcome } from './mirror.js';
import { shadowAuthority } from './shadow-authority.js';

interface Options {
  readonly config?: object;
  /** What the upstream of the copies does; default: 200. */
  readonly shadow?: (copy: HttpRequest) => Promise<HttpResponse>;
  readonly upstream?: (request: HttpRequest) => Promise<HttpResponse>;
}

function start({ config = {}, shadow = () => Promise.resolve(response(200)), upstream = () => Promise.resolve(response(201)) }: Options = {}) {
  const clock = new FakeClock();
  const outcomes: MirrorOutcome[] = [];
  const copies: HttpRequest[] = [];
  const layer = mirror(
    mirrorSchema.parse({ upstream: 'shadow', ...config }),
    (copy) => {
      copies.push(copy);
      return shadow(copy);
    },
    { clock, random: randomFrom(1), onOutcome: (outcome) => outcomes.push(outcome) },
  );
  const service = layer(upstream);
  const send = (changes: Parameters<typeof request>[1] = {}, over = exchange()) => ({ over, answer: service(request(over, changes), over) });
  return { clock, outcomes, copies, send };
}

const hangs = (copy: HttpRequest): Promise<HttpResponse> => new Promise((_, reject) => copy.cancellation.onCancel(reject));
const text = async (body: Body): Promise<string> => (await collect(body, 100_000, () => new Error('too large'))).toString();
const stream = (length?: number): StreamBody => new StreamBody(length, { pause() {}, resume() {}, cancel() {} });

describe('mirror', () => {
  test('sends a copy that says what it is, and answers with the original’s answer', async () => {
    const { send, copies, outcomes } = start({ shadow: () => Promise.resolve(response(500)) });
    const { answer, over } = send({ method: 'POST', target: '/a?b', authority: 'shop:8080', fields: { Host: 'shop:8080', Expect: '100-continue', 'X-Request-Id': 'r' }, body: new WholeBody(Buffer.from('hello')) });
    assert.equal((await answer).status, 201);
    await settle();
    const [{ method, target, headers, body, cancellation }] = copies as [HttpRequest];
    assert.deepEqual([method, target, await text(body)], ['POST', '/a?b', 'hello']);
    assert.deepEqual(headers.toObject(), { host: 'shop-shadow:8080', 'x-request-id': 'r', 'x-shadow': 'true' });
    assert.notEqual(cancellation, over.cancellation);
    assert.deepEqual(outcomes, ['answered']);
  });

  test('the original goes first, and what is done to its fields does not reach the copy', async () => {
    const order: string[] = [];
    const { send, copies } = start({
      upstream: ({ headers }) => {
        order.push('original');
        headers.set('X-Changed', '1');
        return Promise.resolve(response(200));
      },
      shadow: () => {
        order.push('copy');
        return Promise.resolve(response(200));
      },
    });
    const { answer } = send();
    await answer;
    assert.deepEqual(order, ['original', 'copy']);
    assert.equal(copies[0]!.headers.has('x-changed'), false);
  });

  test('sends a streamed body when it is whole, and passes it on as it comes', async () => {
    const received: string[] = [];
    const { send, copies, outcomes } = start({
      upstream: ({ body }) => new Promise((resolve) => body.pipe({ chunk: (data) => received.push(data.toString()) > 0, end: () => resolve(response(200)), fail: () => {} })),
    });
    const body = stream();
    const { answer } = send({ method: 'PUT', body });
    body.push(Buffer.from('hello '));
    assert.deepEqual([received, copies.length], [['hello '], 0]);
    body.push(Buffer.from('world'));
    body.end();
    await answer;
    await settle();
    assert.deepEqual([await text(copies[0]!.body), outcomes], ['hello world', ['answered']]);
  });

  const notCopied: readonly (readonly [name: string, outcome: MirrorOutcome, give: (body: StreamBody) => void, length?: number])[] = [
    ['a body that says it is too long', 'too_large', (body) => (body.push(Buffer.alloc(20)), body.end()), 20],
    ['a body that turns out too long', 'too_large', (body) => (body.push(Buffer.alloc(8)), body.push(Buffer.alloc(8)), body.end())],
    ['a body that breaks off', 'incomplete', (body) => body.fail(new ProxyError('client_closed'))],
  ];
  for (const [name, outcome, give, length] of notCopied) {
    test(`does not copy ${name}, and counts it`, async () => {
      const { send, copies, outcomes } = start({ config: { maxBodyBytes: 10, maxInFlight: 1 }, upstream: async ({ body }) => response(201, {}, String((await collect(body, 100, () => new Error())).length)) });
      const body = stream(length);
      const { answer } = send({ method: 'PUT', body });
      give(body);
      await answer.catch(() => {});
      assert.deepEqual([copies.length, outcomes], [0, [outcome]]);
      await send().answer;
      assert.equal(copies.length, 1, 'its place is free');
    });
  }

  test('a body that nobody reads holds its place until the exchange is over, and no longer', async () => {
    const { send, copies, outcomes } = start({ config: { maxInFlight: 1 }, upstream: () => Promise.reject(new ProxyError('breaker_open')) });
    const { over, answer } = send({ method: 'PUT', body: stream() });
    await assert.rejects(answer, { code: 'breaker_open' });
    await assert.rejects(send().answer);
    assert.deepEqual(outcomes, ['overflow']);
    over.finish(0);
    await assert.rejects(send().answer);
    await settle();
    assert.deepEqual([copies.length, outcomes], [1, ['overflow', 'incomplete', 'answered']]);
  });

  test('a body that is to be copied holds no place where the exchange was over before', async () => {
    const { send, copies, outcomes } = start({ config: { maxInFlight: 1 }, upstream: () => Promise.reject(new ProxyError('client_closed')) });
    const left = exchange();
    left.finish(0);
    await assert.rejects(send({ method: 'PUT', body: stream() }, left).answer);
    assert.deepEqual(outcomes, ['incomplete']);
    await assert.rejects(send().answer);
    assert.equal(copies.length, 1, 'its place is free');
  });

  test('gives a copy that hangs up at its timeout, and keeps no timer', async () => {
    const { send, clock, outcomes } = start({ config: { timeout: '2s' }, shadow: hangs });
    assert.equal((await send().answer).status, 201);
    await clock.advance(1_999);
    assert.deepEqual(outcomes, []);
    await clock.advance(1);
    assert.deepEqual([outcomes, clock.pending], [['timed_out'], 0]);
  });

  test('an answer that never ends is given up at the timeout too', async () => {
    const { send, clock, outcomes } = start({
      shadow: ({ cancellation }) => {
        const body = stream();
        cancellation.onCancel((reason) => body.fail(reason));
        return Promise.resolve({ ...response(200), body });
      },
    });
    await send().answer;
    await clock.advance(5_000);
    assert.deepEqual([outcomes, clock.pending], [['timed_out'], 0]);
  });

  test('a copy goes on when the client of the original leaves', async () => {
    const { send, copies } = start({ shadow: hangs });
    const { over } = send();
    over.cancellation.cancel(new ProxyError('client_closed'));
    assert.equal(copies[0]!.cancellation.isCancelled, false);
  });

  test('has no more copies under way than it may', async () => {
    const { send, clock, copies, outcomes } = start({ config: { maxInFlight: 2, timeout: '1s' }, shadow: hangs });
    for (let index = 0; index < 5; index++) assert.equal((await send().answer).status, 201);
    assert.deepEqual([copies.length, outcomes], [2, ['overflow', 'overflow', 'overflow']]);
    await clock.advance(1_000);
    await send().answer;
    assert.equal(copies.length, 3);
  });

  test('copies the share that it is told', async () => {
    const { send, copies } = start({ config: { percent: 10 } });
    for (let index = 0; index < 5_000; index++) await send().answer;
    // Five standard deviations.
    assert.ok(Math.abs(copies.length - 500) < 107, String(copies.length));
  });

  test('leaves connections alone that switch to another protocol', async () => {
    const { send, copies, outcomes } = start();
    await send({ upgrade: 'websocket' }).answer;
    assert.deepEqual([copies, outcomes], [[], []]);
  });
});

test('shadowAuthority puts the suffix behind a name, and leaves addresses alone', () => {
  for (const [authority, expected] of [['shop', 'shop-shadow'], ['shop.example:8080', 'shop.example-shadow:8080'], ['127.0.0.1:80', '127.0.0.1:80'], ['[::1]:80', '[::1]:80'], ['', '']]) {
    assert.equal(shadowAuthority(authority!), expected);
  }
});
