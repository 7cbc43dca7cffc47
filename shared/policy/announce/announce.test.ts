import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import { exchange, request, response, upload } from '../../../tests/support/policy.js';
import { announce, type AnnounceOptions } from './announce.js';

/** The fields that go upstream, or the code of the error. */
async function sent(fields: Record<string, string>, { tried = [] as string[], leftMs = 800.2, said = false, saidMs = leftMs, isToCome = false, ...options }: Partial<AnnounceOptions> & { tried?: string[]; leftMs?: number; said?: boolean; saidMs?: number; isToCome?: boolean }): Promise<Record<string, string> | string> {
  const clock = new FakeClock({ now: 5_000 });
  const over = exchange();
  over.tried.push(...tried);
  over.deadlineAt = Number.isNaN(leftMs) ? undefined : 5_000 + leftMs;
  if (said) over.callerGivesUpAt = 5_000 + saidMs;
  let headers: Record<string, string> = {};
  const service = announce({ deadline: 'always', ...options }, { clock })(async (attempt) => {
    headers = attempt.headers.toObject();
    return response(200);
  });
  return service(request(over, { fields, ...(isToCome && { body: upload(0, Infinity) }) }), over).then(() => headers, (error: unknown) => (error as ProxyError).code);
}

const [timeout, count] = ['x-envoy-expected-rq-timeout-ms', 'x-envoy-attempt-count'];

const cases: readonly (readonly [name: string, fields: Record<string, string>, options: Parameters<typeof sent>[1], expected: Record<string, string> | string])[] = [
  ['the first attempt says how long it is waited for, and no number', {}, {}, { [timeout]: '801' }],
  ['the second says that it is the second', {}, { tried: ['a'] }, { [timeout]: '801', [count]: '2' }],
  ['the number counts on from the proxy in front', { [count]: '2' }, { tried: ['a', 'b'] }, { [count]: '4', [timeout]: '801' }],
  ['a first attempt keeps the number of the proxy in front', { [count]: '2' }, {}, { [count]: '2', [timeout]: '801' }],
  ['what the caller said is replaced', { [timeout]: '5000' }, {}, { [timeout]: '801' }],
  ['an attempt has no longer than its own timeout', {}, { attemptTimeoutMs: 250 }, { [timeout]: '250' }],
  ['nothing is said of time when that is switched off', {}, { deadline: 'never', said: true, tried: ['a'] }, { [count]: '2' }],
  ['a time that nobody chose is not told', {}, { deadline: 'passed-on' }, {}],
  ['what the caller said is passed on, as what is left of it', { [timeout]: '5000' }, { deadline: 'passed-on', said: true }, { [timeout]: '801' }],
  ['nothing is said of time when there is no deadline', {}, { leftMs: NaN }, {}],
  ['with a body that is still to come nobody knows when our own time ends', {}, { isToCome: true, attemptTimeoutMs: 250 }, {}],
  ['with a body that is still to come all that the caller has left is told', {}, { isToCome: true, said: true, saidMs: 3_000, attemptTimeoutMs: 250 }, { [timeout]: '3000' }],
  ['a call of gRPC is told how long it is waited for, though its messages are still to come', { 'content-type': 'application/grpc' }, { isToCome: true }, { [timeout]: '801', 'content-type': 'application/grpc' }],
  ['an attempt whose deadline has passed is not made', {}, { leftMs: 0 }, 'deadline_exceeded'],
];

describe('announce', () => {
  for (const [name, fields, options, expected] of cases) test(name, async () => assert.deepEqual(await sent(fields, options), expected));
});
