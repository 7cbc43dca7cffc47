import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AggregatorRegistry, Registry } from 'prom-client';
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

test('of several workers, what discovery found and what is ejected is the most that one says; what is in progress adds up', async () => {
  const registry = new Registry();
  const metrics = new UpstreamMetrics(registry, () => [{ upstream: 'orders', ejected: 1, limits: { requests: 5, connections: 4, pending: 3, retries: 2 } }]);
  metrics.discovered('orders', 'dns', 3);
  const said = await registry.getMetricsAsJSON();
  const together = await AggregatorRegistry.aggregate([said, said]).metrics();
  for (const line of ['proxy_discovery_endpoints{upstream="orders",source="dns"} 3', 'proxy_outlier_ejected_endpoints{upstream="orders"} 1', 'proxy_upstream_limited_requests{upstream="orders"} 10', 'proxy_upstream_limited_retries{upstream="orders"} 4']) {
    assert.ok(together.includes(line), line);
  }
});
