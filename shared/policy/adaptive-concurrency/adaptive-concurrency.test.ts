import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { delay } from '../../clock/clock.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { adaptiveConcurrencySchema } from '../../config/resilience.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { emptyBody } from '../../http/body.js';
import type { HttpResponse } from '../../http/message.js';
import { stack } from '../../http/service.js';
import { exchange, openEnded, request, response, upload } from '../../../tests/support/policy.js';
import { AdaptiveLimit } from './adaptive-limit.js';
import { adaptiveConcurrency } from './adaptive-concurrency.js';
import { routePriority } from './route-priority.js';

const priority = { levels: { critical: 1, normal: 0.8, batch: 0.5 }, default: 'normal' };

/** A service that answers when it is told to. */
function start(config: object = {}, ofRoute?: string) {
  const clock = new FakeClock();
  const parsed = adaptiveConcurrencySchema.parse({ initialLimit: 10, ...config });
  const limit = new AdaptiveLimit(parsed, () => 0, 0);
  const shed: string[] = [];
  const seen: (string | undefined)[] = [];
  const waiting: { resolve: (response: HttpResponse) => void; reject: (error: Error) => void }[] = [];
  const service = stack([ofRoute === undefined ? undefined : routePriority(ofRoute), adaptiveConcurrency(parsed, { clock, limit, onShed: (name) => shed.push(name) })], ({ headers }) => {
    seen.push(headers.get('x-request-priority'));
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  });
  const outcomes: (number | ErrorCode)[] = [];
  const send = (level?: string, trusted = true): void => {
    const over = exchange();
    over.isCallerTrusted = trusted;
    void service(request(over, { fields: level === undefined ? {} : { 'x-request-priority': level } }), over).then(({ status }) => outcomes.push(status), (error: unknown) => outcomes.push((error as ProxyError).code));
  };
  return { clock, limit, shed, seen, waiting, outcomes, send };
}

describe('adaptiveConcurrency', () => {
  test('sheds what is beyond the limit with 503 overloaded, Retry-After and flag OM', async () => {
    const parsed = adaptiveConcurrencySchema.parse({ initialLimit: 3 });
    const clock = new FakeClock();
    const limit = new AdaptiveLimit(parsed, () => 0, 0);
    const service = adaptiveConcurrency(parsed, { clock, limit })(() => new Promise(() => {}));
    for (let index = 0; index < 3; index++) void service(request(exchange()), exchange());
    const error = await service(request(exchange()), exchange()).catch((thrown: unknown) => thrown as ProxyError);
    assert.ok(error instanceof ProxyError);
    assert.deepEqual([error.code, error.entry.status, error.entry.flag, error.fields], ['overloaded', 503, 'OM', { 'Retry-After': '1' }]);
  });

  test('a place is free again when the answer begins, or the attempt failed', async () => {
    const run = start({ initialLimit: 3 });
    for (let index = 0; index < 3; index++) run.send();
    run.waiting[0]!.resolve(response(200));
    run.waiting[1]!.reject(new ProxyError('upstream_reset'));
    await run.clock.advance(1);
    assert.equal(run.limit.inFlight, 1);
    assert.deepEqual(run.outcomes, [200, 'upstream_reset']);
  });

  /** The limit after twenty answers, 1,010 ms after each request; its client is awaited until its body is whole. */
  async function taught(wholeAtMs: number): Promise<AdaptiveLimit> {
    const parsed = adaptiveConcurrencySchema.parse({});
    const clock = new FakeClock();
    const limit = new AdaptiveLimit(parsed, () => 0, 0);
    const service = adaptiveConcurrency(parsed, { clock, limit })(async () => {
      await delay(clock, 1_010);
      return response(200);
    });
    for (let index = 0; index < 20; index++) void service(request(exchange(), { body: upload(0, wholeAtMs) }), exchange());
    await clock.advance(1_010);
    return limit;
  }

  test('the time in which clients were awaited for their bodies is not the service’s', async () => {
    assert.equal((await taught(1_000)).baselineMs, 10);
  });

  test('an answer before the body is whole teaches nothing: its client would say how fast the service is', async () => {
    const { inFlight, baselineMs } = await taught(2_000);
    assert.deepEqual([inFlight, baselineMs], [0, undefined]);
  });

  test('time that runs out while the request is its client’s to send teaches nothing', async () => {
    for (const [body, baselineMs] of [[openEnded(), undefined], [emptyBody, 1_000]] as const) {
      const parsed = adaptiveConcurrencySchema.parse({});
      const clock = new FakeClock();
      const limit = new AdaptiveLimit(parsed, () => 0, 0);
      const service = adaptiveConcurrency(parsed, { clock, limit })(async () => {
        await delay(clock, 1_000);
        throw new ProxyError('upstream_timeout');
      });
      for (let index = 0; index < 20; index++) service(request(exchange(), { body }), exchange()).catch(() => {});
      await clock.advance(1_000);
      assert.deepEqual([limit.inFlight, limit.baselineMs], [0, baselineMs]);
    }
  });

  test('lower priorities are shed first', async () => {
    const run = start({ priority });
    for (let index = 0; index < 8; index++) run.send('batch');
    for (let index = 0; index < 8; index++) run.send();
    for (let index = 0; index < 8; index++) run.send('critical');
    await run.clock.advance(0);
    const count = (level: string): number => run.shed.filter((name) => name === level).length;
    assert.deepEqual({ batch: count('batch'), normal: count('normal'), critical: count('critical') }, { batch: 3, normal: 5, critical: 6 });
    assert.equal(run.limit.inFlight, 10);
  });

  const levels: readonly (readonly [name: string, ofRoute: string | undefined, said: string | undefined, trusted: boolean, level: string])[] = [
    ['the caller’s, when it is trusted', undefined, 'batch', true, 'batch'],
    ['the default, when it is not', undefined, 'critical', false, 'normal'],
    ['the default, when it is none that exists', undefined, 'urgent', true, 'normal'],
    ['the default, when it is a name that every object has', undefined, 'constructor', true, 'normal'],
    ['the route’s, whatever the caller says', 'batch', 'critical', true, 'batch'],
  ];
  for (const [name, ofRoute, said, trusted, level] of levels) {
    test(`the level is ${name}`, async () => {
      const run = start({ initialLimit: 3, priority }, ofRoute);
      for (let index = 0; index < 4; index++) run.send(said, trusted);
      await run.clock.advance(0);
      assert.equal(run.shed[0], level);
      if (ofRoute !== undefined) assert.equal(run.seen[0], ofRoute, 'and the proxies behind are told');
    });
  }

  test('answers that are failures teach nothing', async () => {
    const run = start({ window: 0 });
    for (const status of [500, 503, 429]) {
      for (let index = 0; index < 10; index++) run.send();
      await run.clock.advance(1);
      run.waiting.splice(0).forEach(({ resolve }) => resolve(response(status)));
      await run.clock.advance(1);
    }
    assert.equal(run.limit.baselineMs, undefined);
    for (let index = 0; index < 10; index++) run.send();
    await run.clock.advance(5);
    run.waiting.splice(0).forEach(({ resolve }) => resolve(response(404)));
    await run.clock.advance(1);
    assert.equal(run.limit.baselineMs, 5);
  });
});
