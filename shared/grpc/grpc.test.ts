import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../clock/fake-clock.js';
import { retrySchema } from '../config/policies.js';
import { retryBudgetSchema } from '../config/resilience.js';
import { ProxyError } from '../errors/proxy-error.js';
import { rescue } from '../errors/rescue.js';
import { emptyBody, StreamBody, type BodySink } from '../http/body.js';
import type { Exchange } from '../http/exchange.js';
import { Headers } from '../http/headers.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import { exchange, request, response } from '../../tests/support/policy.js';
import { breakerSchema } from '../config/policies.js';
import { breaker } from '../policy/breaker/breaker.js';
import { RetryBudget } from '../policy/retry/retry-budget.js';
import { retry } from '../policy/retry/retry.js';
import { isGrpc } from './content-type.js';
import { encodeGrpcMessage, grpcErrorResponse } from './error-response.js';
import { grpc, grpcTimeLeft } from './grpc.js';
import { isServerFault, statusOf } from './status.js';
import { formatGrpcTimeout, parseGrpcTimeout } from './timeout.js';

const type = { 'content-type': 'application/grpc' };
const call = (over: Exchange, fields: Readonly<Record<string, string>> = {}): HttpRequest => request(over, { method: 'POST', fields: { ...type, ...fields } });
/** An answer that is nothing but its trailers. */
const trailersOnly = (status: number): HttpResponse => ({ status: 200, headers: Headers.of({ ...type, 'grpc-status': String(status) }), body: emptyBody });
const streaming = (): HttpResponse & { readonly body: StreamBody } => ({ status: 200, headers: Headers.of(type), body: new StreamBody(undefined, { pause() {}, resume() {}, cancel() {} }) });

/** Takes a body and keeps what became of it. */
function sink(): BodySink & { trailers: Headers | undefined; failure: Error | undefined } {
  return {
    trailers: undefined, failure: undefined,
    chunk: () => true,
    end(trailers) { this.trailers = trailers; },
    fail(reason) { this.failure = reason; },
  };
}

const budgetOn = (clock: FakeClock): RetryBudget => new RetryBudget(retryBudgetSchema.parse({}), clock);

describe('gRPC', () => {
  test('is told by its type, and gRPC-Web is another protocol', () => {
    const types: readonly (readonly [string | undefined, boolean])[] = [['application/grpc', true], ['application/grpc+proto', true], ['application/grpc;x', true], ['application/grpc-web', false], ['application/grpcx', false], ['application/json', false], [undefined, false]];
    for (const [value, expected] of types) assert.equal(isGrpc(Headers.of(value === undefined ? {} : { 'content-type': value })), expected, value);
  });

  test('timeouts are read in every unit, and written without being made longer', () => {
    const values: readonly (readonly [string, number | undefined])[] = [['1H', 3_600_000], ['2M', 120_000], ['3S', 3_000], ['250m', 250], ['1500u', 1.5], ['1000000n', 1], ['99999999H', 99_999_999 * 3_600_000], ['123456789S', undefined], ['5', undefined], ['5s', undefined], ['-5S', undefined], ['', undefined]];
    for (const [value, expected] of values) assert.equal(parseGrpcTimeout(value), expected, value);
    for (const ms of [0.4, 1, 1_234.567, 99_999, 100_001, 99_999_999, 4e9, 27_778 * 3_600_000, 2_562_047 * 3_600_000, 3e14]) {
      const written = formatGrpcTimeout(ms);
      assert.match(written, /^\d{1,8}[HMSmun]$/);
      assert.ok(parseGrpcTimeout(written)! <= ms && parseGrpcTimeout(written)! > ms * 0.99 - 1, `${ms} became ${written}`);
    }
  });

  test('messages are percent-encoded', () => {
    assert.equal(encodeGrpcMessage('100% möglich\n'), '100%25 m%C3%B6glich%0A');
  });

  test('errors of the proxy become answers that are nothing but trailers, with the status of the mapping', async () => {
    const statuses = { bad_request: 13, token_missing: 16, scope_missing: 7, no_route: 12, rate_limited: 14, upstream_reset: 14, breaker_open: 14, upstream_timeout: 14, deadline_exceeded: 4, internal: 2, body_too_large: 2 } as const;
    for (const [code, status] of Object.entries(statuses)) assert.equal(statusOf(code as keyof typeof statuses), status, code);
    const over = exchange();
    const answer = await rescue()(() => Promise.reject(new ProxyError('rate_limited', { fields: { 'Retry-After': '3' } })))(call(over), over);
    assert.deepEqual([answer.status, answer.body.length, answer.headers.toObject()], [200, 0, { 'grpc-status': '14', 'grpc-message': 'rate_limited: The quota is used up; see Retry-After.', 'content-type': 'application/grpc', 'retry-after': '3' }]);
    assert.equal(over.grpcStatus, 14);
    const plain = await rescue()(() => Promise.reject(new ProxyError('rate_limited')))(request(exchange()), exchange());
    assert.equal(plain.status, 429);
  });

  test('a deadline ends the call, also within its answer, and leaves nothing behind', async () => {
    for (const hasBegun of [false, true]) {
      const clock = new FakeClock();
      const over = exchange();
      over.httpVersion = '2';
      const body = streaming();
      const service = grpc({ clock })((limited) => {
        if (hasBegun) {
          limited.cancellation.onCancel((reason) => body.body.fail(reason));
          return Promise.resolve(body);
        }
        return new Promise((_, reject) => limited.cancellation.onCancel(reject));
      });
      const outcome = service(call(over, { 'grpc-timeout': '200m' }), over);
      outcome.catch(() => undefined);
      await clock.advance(199);
      const seen = sink();
      if (hasBegun) (await outcome).body.pipe(seen);
      assert.equal(seen.trailers, undefined);
      await clock.advance(30);
      if (hasBegun) assert.deepEqual([seen.trailers!.get('grpc-status'), over.errorCode], ['4', 'deadline_exceeded']);
      else await assert.rejects(outcome, { code: 'deadline_exceeded' });
      over.finish(clock.now());
      await clock.advance(100);
      assert.equal(clock.pending, 0);
    }
  });

  test('each attempt is told what is left of the deadline, and no more than the cap', async () => {
    const clock = new FakeClock();
    const over = exchange();
    const told: string[] = [];
    const service = grpc({ clock, maxTimeoutMs: 1_000 })(
      retry(retrySchema.parse({ attempts: 2, on: ['unavailable'], backoff: { base: 100, max: 100 } }), { clock, random: () => 0.999, budget: budgetOn(clock) })(
        grpcTimeLeft({ clock })((attempt) => {
          told.push(attempt.headers.get('grpc-timeout')!);
          return Promise.resolve(trailersOnly(told.length === 1 ? 14 : 0));
        }),
      ),
    );
    const outcome = service(call(over, { 'grpc-timeout': '5S' }), over);
    await clock.advance(100);
    assert.equal((await outcome).headers.get('grpc-status'), '0');
    assert.deepEqual(told.map((value) => Math.round(parseGrpcTimeout(value)!)), [1_000, 900]);
    over.finish(clock.now());
  });

  test('the status is taken from the trailers, or from a head that has nothing else', async () => {
    const clock = new FakeClock();
    const statuses: (number | undefined)[] = [];
    const layer = grpc({ clock, onStatus: (_over, status) => statuses.push(status) });
    const run = async (answer: HttpResponse): Promise<Exchange> => {
      const over = exchange();
      (await layer(() => Promise.resolve(answer))(call(over), over)).body.pipe(sink());
      return over;
    };
    const withTrailers = streaming();
    const over = await run(withTrailers);
    withTrailers.body.end(Headers.of({ 'grpc-status': '9' }));
    over.finish(0);
    (await run(trailersOnly(5))).finish(0);
    (await run(trailersOnly(77))).finish(0);
    (await run(response(503))).finish(0);
    assert.deepEqual(statuses, [9, 5, 2, undefined]);
  });

  test('a request that is not of gRPC passes untouched', async () => {
    const over = exchange();
    const sent = request(over, { fields: { 'grpc-timeout': '1m' } });
    await grpc({ clock: new FakeClock(), onStatus: () => assert.fail() })((passed) => {
      assert.equal(passed, sent);
      return Promise.resolve(response(200));
    })(sent, over);
    over.finish(0);
  });
});

describe('retry after statuses of gRPC', () => {
  const cases: readonly (readonly [name: string, on: readonly string[], first: () => HttpResponse, attempts: number])[] = [
    ['tries again after a status that is named, although every call is a POST', ['unavailable'], () => trailersOnly(14), 2],
    ['does not try again after one that is not', ['unavailable'], () => trailersOnly(13), 1],
    ['does not try again without being told', ['reset'], () => trailersOnly(14), 1],
    ['does not try again when a message may have been forwarded', ['unavailable'], () => ({ ...streaming(), headers: Headers.of({ ...type, 'grpc-status': '14' }) }), 1],
    ...(['cancelled', 'deadline-exceeded', 'internal', 'resource-exhausted'] as const).map((name, index): [string, string[], () => HttpResponse, number] => [`knows ${name}`, [name], () => trailersOnly([1, 4, 13, 8][index]!), 2]),
  ];
  for (const [name, on, first, attempts] of cases) {
    test(name, async () => {
      const clock = new FakeClock();
      const over = exchange();
      let made = 0;
      const outcome = retry(retrySchema.parse({ on, backoff: { base: 0, max: 0 } }), { clock, random: () => 0, budget: budgetOn(clock) })(() => Promise.resolve(++made === 1 ? first() : trailersOnly(0)))(call(over), over);
      await clock.advance(10);
      await outcome;
      assert.equal(made, attempts);
    });
  }
});

test('the breaker of an endpoint counts what its server got wrong, and nothing else', async () => {
  for (const [status, state] of [[14, 'open'], [13, 'open'], [2, 'open'], [4, 'open'], [15, 'open'], [5, 'closed'], [3, 'closed'], [16, 'closed']] as const) {
    const gate = breaker(breakerSchema.parse({ volumeThreshold: 3 }), { clock: new FakeClock(), name: 'x', isFailure: isServerFault });
    for (let index = 0; index < 3; index++) {
      const over = exchange();
      assert.equal((await gate.layer(() => Promise.resolve(trailersOnly(status)))(call(over), over)).headers.get('grpc-status'), String(status));
    }
    assert.equal(gate.state(), state, String(status));
    gate.close();
  }
});

test('an error that is a stream’s end says the same as one that is an answer', () => {
  const over = exchange();
  assert.equal(grpcErrorResponse(new ProxyError('upstream_truncated'), over).headers.get('grpc-status'), '14');
});
