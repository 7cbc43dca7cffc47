import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Registry } from 'prom-client';
import { UpstreamMetrics } from './upstream-metrics.js';

test('of a discovery that is no more, no series is left', async () => {
  const registry = new Registry();
  const metrics = new UpstreamMetrics(registry, () => []);
  const none = await registry.metrics();
  metrics.discovered('orders', 'dns', 3);
  metrics.discoveryFailed('orders', 'dns', 'timeout');
  metrics.recordsIgnored('orders', 'dns', 2);
  assert.equal((await registry.metrics()).match(/upstream="orders"/g)?.length, 4);
  metrics.forgetDiscovery('orders', 'dns');
  assert.equal(await registry.metrics(), none);
});
