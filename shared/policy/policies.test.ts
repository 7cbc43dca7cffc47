import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchange, request, response } from '../../tests/support/policy.js';
import { FakeClock } from '../clock/fake-clock.js';
import { Generation } from '../config/generation.js';
import { rateLimitSchema } from '../config/policies.js';
import { silentLogger, type Logger } from '../telemetry/logger.js';
import { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { PemStore } from '../tls/pem-store.js';
import { Policies } from './policies.js';
import { scopeNamed } from './scope.js';

test('that a quota cannot be checked is told once a minute for each scope, and counted each time', async () => {
  const clock = new FakeClock();
  const metrics = new ProxyMetrics();
  const told: string[] = [];
  const logger = Object.assign(Object.create(silentLogger) as Logger, { warn: ({ scope }: { readonly scope: string }) => told.push(scope) });
  const policies = new Policies({ clock, random: () => 0, logger, metrics, pems: new PemStore(clock), counter: { count: () => Promise.reject(new Error('the front stands still')) } });
  const generation = new Generation();
  const config = rateLimitSchema.parse({ max: 1, failOpen: true });
  const services = await Promise.all(['a', 'b'].map(async (name) => (await policies.rateLimit(generation, scopeNamed(name), config))(async () => response(200))));
  const ask = async (): Promise<void> => {
    for (const service of [...services, ...services]) assert.equal((await service(request(exchange()), exchange())).status, 200);
  };
  await ask();
  await clock.advance(59_999);
  await ask();
  assert.deepEqual(told, ['a', 'b']);
  await clock.advance(1);
  await ask();
  assert.deepEqual(told, ['a', 'b', 'a', 'b']);
  assert.match(await metrics.registry.metrics(), /^proxy_rate_limit_decisions_total\{scope="a",decision="failed_open"\} 6$/m);
  generation.retire();
});
