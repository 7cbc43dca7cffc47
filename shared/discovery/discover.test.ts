import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { FakeClock } from '../clock/fake-clock.js';
import { Generation } from '../config/generation.js';
import { upstreamSchema, type UpstreamConfig } from '../config/sections.js';
import { DataPlane } from '../process/data-plane.js';
import { silentLogger } from '../telemetry/logger.js';
import { UpstreamSet } from '../upstream/upstream-set.js';
import { discover } from './discover.js';

test('a new version of the configuration takes over what was found, what is known of it, and leaves nothing behind in the end', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'discovery-'));
  const file = join(directory, 'endpoints.yaml');
  writeFileSync(file, '- 127.0.0.1:9001\n');
  const clock = new FakeClock();
  const dataPlane = new DataPlane(clock, silentLogger, { accessLog: false });
  const { dependencies } = dataPlane;
  const config = (limits: object): Record<string, UpstreamConfig> => ({ orders: upstreamSchema.parse({ endpoints: ['127.0.0.1:9000'], discovery: { file }, outlierDetection: {}, limits }) });
  const build = async (configs: Record<string, UpstreamConfig>, before?: { generation: Generation; upstreams: UpstreamSet }) => {
    const generation = new Generation(before?.generation);
    await dependencies.watches.open(configs, generation);
    const discovered = await discover(configs, generation, dependencies.discovery);
    const upstreams = new UpstreamSet(discovered.configs, dependencies, before?.upstreams);
    discovered.feed(upstreams);
    before?.upstreams.retire(upstreams);
    before?.generation.retire(generation);
    return { generation, upstreams, orders: upstreams.get('orders')!, watch: dependencies.watches.get('orders', configs['orders']!) };
  };
  const names = ({ orders }: { orders: { endpoints: readonly { name: string }[] } }): string[] => orders.endpoints.map(({ name }) => name);
  const until = async (holds: () => boolean): Promise<void> => {
    while (!holds()) await clock.advance(20);
  };

  const first = await build(config({ maxRequests: 10 }));
  await until(() => first.orders.endpoints.length === 2);
  assert.deepEqual(names(first), ['127.0.0.1:9000', '127.0.0.1:9001']);

  const second = await build(config({ maxRequests: 10 }), first);
  assert.deepEqual(second.orders.endpoints, first.orders.endpoints);
  assert.equal(second.orders.endpoints[1], first.orders.endpoints[1], 'the very same, with its connections');
  assert.equal(second.watch, first.watch);

  writeFileSync(file, '- 127.0.0.1:9002\n');
  await until(() => second.orders.endpoints.some(({ name }) => name === '127.0.0.1:9002'));
  assert.deepEqual(names(second), ['127.0.0.1:9000', '127.0.0.1:9002']);
  assert.deepEqual(names(first), ['127.0.0.1:9000', '127.0.0.1:9001'], 'the old version follows no longer');

  const third = await build(config({ maxRequests: 20 }), second);
  assert.deepEqual(names(third), names(second), 'other settings: new endpoints, at once');
  assert.notEqual(third.orders.endpoints[0], second.orders.endpoints[0]);
  assert.notEqual(third.watch, second.watch);
  const metrics = await dataPlane.metrics.registry.metrics();
  assert.match(metrics, /^proxy_upstream_limited_requests\{upstream="orders"\} 0$/m);

  third.upstreams.retire();
  third.generation.retire();
  dataPlane.close();
  await clock.advance(60_000);
  assert.equal(clock.pending, 0);
  assert.doesNotMatch(await dataPlane.metrics.registry.metrics(), /upstream="orders"\} \d+$/m);
  rmSync(directory, { recursive: true });
});
