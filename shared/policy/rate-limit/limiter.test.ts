import assert from 'node:assert/strict';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { test } from 'node:test';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { FakeClock } from '../../clock/fake-clock.js';
import { rateLimitSchema } from '../../config/policies.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import { Limiter } from './limiter.js';
import { rateLimit } from './rate-limit.js';

test('quotas of one process are made of one Fastify, and each has its own numbers and its own count', async (context) => {
  let made = 0;
  const count = (): void => {
    made++;
  };
  subscribe('fastify.initialization', count);
  context.after(() => unsubscribe('fastify.initialization', count));
  const [clock, limiter] = [new FakeClock(), new Limiter()];
  const quotas = await Promise.all([{ max: 1, timeWindow: '10s' }, { max: 2, timeWindow: '20s' }, { max: 1, timeWindow: '20s' }].map((config) => rateLimit(rateLimitSchema.parse(config), { clock, limiter })));
  assert.equal(made, 1);
  const services = quotas.map(({ layer }) => layer(async () => response(200)));
  const ask = (): Promise<(number | string)[]> => Promise.all(services.map((service) => service(request(exchange()), exchange()).then(({ status }) => status, (error: unknown) => (error as ProxyError).code)));
  assert.deepEqual(await ask(), [200, 200, 200]);
  assert.deepEqual(await ask(), ['rate_limited', 200, 'rate_limited']);
  await clock.advance(10_000);
  assert.deepEqual(await ask(), [200, 'rate_limited', 'rate_limited']);
  await clock.advance(10_000);
  assert.deepEqual(await ask(), [200, 200, 200]);
});
