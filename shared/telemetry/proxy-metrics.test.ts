import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { exchange, request, response } from '../../tests/support/policy.js';
import type { Exchange } from '../http/exchange.js';
import { collectMetrics, exposition } from './exposition.js';
import { ProxyMetrics } from './proxy-metrics.js';

describe('what is counted of routes and upstreams', () => {
  let metrics: ProxyMetrics;
  let service: ReturnType<ReturnType<ProxyMetrics['requests']>>;
  beforeEach(() => {
    metrics = new ProxyMetrics();
    service = metrics.requests('public')(() => Promise.resolve(response(200)));
  });

  /** One that is under way; returns what ends it. */
  function begin(route: string | undefined, upstream: string, status = 200): () => void {
    const one: Exchange = exchange();
    Object.assign(one, { route, upstream, status, attempts: 2, startedAt: 0 });
    one.request = request(one);
    void service(one.request, one);
    return () => one.finish(1);
  }
  const seen = async (): Promise<string[]> => {
    const text = String(await exposition(await collectMetrics(metrics.registry)));
    const all = [...text.matchAll(/^(?:http_server_request_duration_seconds_count\{.*http_route="(.*?)"|proxy_(?:upstream_attempts|grpc_calls|retries)_total\{.*?(?:http_route|upstream)="(.*?)").*\} (\d+)$/gm)];
    return all.map(([, route, upstream, count]) => `${route ?? upstream} ${count}`).sort();
  };

  test('stays while a version of the configuration has the name, and goes when it was collected twice after that', async () => {
    const [first, second] = [metrics.routes.use('/a'), metrics.routes.use('/a')];
    const upstream = metrics.upstreams.use('orders');
    begin('/a', 'orders')();
    metrics.retryEvent('orders', 'retried');
    metrics.grpcCall(Object.assign(exchange(), { listener: 'public', route: '/a' }), 0);
    const all = ['/a 1', '/a 1', 'orders 1', 'orders 2'];
    first();
    first();
    for (let times = 0; times < 3; times++) assert.deepEqual(await seen(), all);
    second();
    upstream();
    assert.deepEqual(await seen(), all);
    await seen();
    assert.deepEqual(await seen(), []);
  });

  test('what was in flight is counted to its end, and shown once', async () => {
    const ends = [metrics.routes.use('/a'), metrics.upstreams.use('orders')];
    begin('/a', 'orders')();
    const [soon, late] = [begin('/a', 'orders'), begin('/a', 'orders')];
    await seen();
    for (const end of ends) end();
    soon();
    assert.deepEqual(await seen(), ['/a 2', 'orders 4']);
    await seen();
    assert.deepEqual(await seen(), []);
    late();
    assert.deepEqual(await seen(), ['/a 1', 'orders 2']);
    await seen();
    assert.deepEqual(await seen(), []);
  });

  test('all of a name goes together, so that nothing is there twice when it comes back', async () => {
    const end = metrics.routes.use('/a');
    begin('/a', 'passthrough')();
    const late = [begin('/a', 'passthrough', 404), begin('/a', 'passthrough', 404)];
    late.pop()!();
    end();
    await seen();
    late.pop()!();
    await seen();
    metrics.routes.use('/a');
    begin('/a', 'passthrough', 404)();
    assert.deepEqual(await seen(), ['/a 1', '/a 3', 'passthrough 8']);
  });

  test('stays where several processes are added up', async () => {
    metrics = new ProxyMetrics({ keepsSeries: true });
    service = metrics.requests('public')(() => Promise.resolve(response(200)));
    begin('/a', 'orders')();
    for (let times = 0; times < 4; times++) assert.deepEqual(await seen(), ['/a 1', 'orders 2']);
  });

  test('a name that comes back goes on where it was', async () => {
    const end = metrics.routes.use('/a');
    begin('/a', 'passthrough')();
    end();
    metrics.routes.use('/a');
    begin('/a', 'passthrough')();
    for (let times = 0; times < 3; times++) assert.deepEqual(await seen(), ['/a 2', 'passthrough 4']);
  });

  test('what no configuration names stays', async () => {
    begin(undefined, 'passthrough')();
    begin('passthrough', 'passthrough')();
    for (let times = 0; times < 3; times++) assert.deepEqual(await seen(), [' 1', 'passthrough 1', 'passthrough 4']);
  });

  test('is bounded where nobody collects', async () => {
    for (let index = 0; index < 5_000; index++) begin(`/${index}`, `of ${index}`)();
    assert.ok((await seen()).length <= 2 * 2_000);
  });
});
