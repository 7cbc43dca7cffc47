import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Registry } from 'prom-client';
import { pino } from 'pino';
import { plainEndpoint, type EndpointConfig } from '../config/endpoints.js';
import { formatAddress } from '../config/units.js';
import { UpstreamMetrics } from '../telemetry/upstream-metrics.js';
import { Discovery } from './discovery.js';
import type { DiscoveryListener } from './source.js';

const at = (port: number): EndpointConfig => plainEndpoint({ host: '127.0.0.1', port });
const portsOf = (endpoints: readonly EndpointConfig[]): number[] => endpoints.map(({ address }) => Number(formatAddress(address).split(':')[1]));

function start() {
  const lines: Record<string, unknown>[] = [];
  const registry = new Registry();
  let listener!: DiscoveryListener;
  let closed = 0;
  const source = { kind: 'dns', start: (to: DiscoveryListener) => void (listener = to), close: () => closed++ } as const;
  const discovery = new Discovery('orders', source, {
    logger: pino({}, { write: (line: string) => lines.push(JSON.parse(line) as Record<string, unknown>) }),
    metrics: new UpstreamMetrics(registry, () => []),
  });
  return { discovery, listener, registry, closed: () => closed, said: () => lines.map(({ msg }) => msg) };
}

const failure = { result: 'timeout', details: ['A orders: no resolver answered in time'] } as const;

describe('discovery', () => {
  test('adds what is found to what is listed, each address once, the listed one as it is listed', () => {
    const { discovery, listener } = start();
    const listed = { ...at(1), weight: 7 };
    listener.found([at(1), at(2), at(2)]);
    const endpoints = discovery.endpointsWith([listed]);
    assert.deepEqual(portsOf(endpoints), [1, 2]);
    assert.equal(endpoints[0]!.weight, 7);
  });

  test('tells the upstream that follows of each change, and of nothing else', () => {
    const { discovery, listener } = start();
    const told: number[][] = [];
    discovery.feed([at(9)], (endpoints) => told.push(portsOf(endpoints)));
    listener.found([at(1)]);
    listener.found([at(1)]);
    listener.failed(failure);
    listener.found([at(2)]);
    assert.deepEqual(told, [[9], [9, 1], [9, 2]]);
  });

  test('another version of the upstream follows in its place', () => {
    const { discovery, listener } = start();
    const told: string[] = [];
    discovery.feed([], () => told.push('old'));
    discovery.feed([at(9)], (endpoints) => told.push(`new ${portsOf(endpoints).join()}`));
    listener.found([at(1)]);
    assert.deepEqual(told, ['old', 'new 9', 'new 9,1']);
  });

  test('a failure is warned of once, counted each time, and its end is told', async () => {
    const { listener, said, registry } = start();
    listener.found([at(1)]);
    listener.failed(failure);
    listener.failed(failure);
    listener.failed({ result: 'not_found', details: ['A orders: there is no such name'] });
    listener.found([at(1)]);
    assert.deepEqual(said(), [
      'discovery: the endpoints have changed',
      'discovery failed; what was found last stays',
      'discovery failed; what was found last stays',
      'discovery works again',
    ]);
    const metrics = await registry.metrics();
    for (const [result, count] of [['found', 2], ['timeout', 2], ['not_found', 1]]) assert.match(metrics, new RegExp(`proxy_discovery_refreshes_total\\{upstream="orders",source="dns",result="${result}"\\} ${count}$`, 'm'));
  });

  test('what is ignored is warned of once, for as long as it is the same', async () => {
    const { listener, said, registry } = start();
    listener.ignored(['0.0.0.0']);
    listener.ignored(['0.0.0.0']);
    listener.ignored(['0.0.0.0', '::']);
    assert.equal(said().length, 2);
    assert.match(await registry.metrics(), /proxy_discovery_ignored_records_total\{upstream="orders",source="dns"\} 4$/m);
  });

  test('closed, it closes its source and tells nobody', () => {
    const { discovery, listener, closed } = start();
    const told: number[][] = [];
    discovery.feed([], (endpoints) => told.push(portsOf(endpoints)));
    listener.found([at(1)]);
    discovery.close();
    listener.found([at(2)]);
    assert.equal(closed(), 1);
    assert.deepEqual(told, [[], [1]]);
  });
});
