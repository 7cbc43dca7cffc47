import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { TestDnsServer } from '../../tests/support/dns-server.js';
import { FakeClock } from '../clock/fake-clock.js';
import { Generation } from '../config/generation.js';
import { upstreamSchema, type UpstreamConfig } from '../config/sections.js';
import { DataPlane } from '../process/data-plane.js';
import { silentLogger } from '../telemetry/logger.js';
import type { Upstream } from '../upstream/upstream.js';
import { UpstreamSet } from '../upstream/upstream-set.js';
import { discover } from './discover.js';

interface Version {
  readonly generation: Generation;
  readonly upstreams: UpstreamSet;
  readonly orders: Upstream;
  readonly watch: unknown;
}

/** Versions of a configuration with one upstream, `orders`, each of which takes over from the one before. */
class Versions {
  readonly clock = new FakeClock();
  readonly dataPlane = new DataPlane(this.clock, silentLogger, { accessLog: false });

  /** `meanwhile` happens when all is built and not yet in force. */
  async build(upstream: object, before?: Version, meanwhile?: () => Promise<void>): Promise<Version> {
    const { dependencies } = this.dataPlane;
    const configs: Record<string, UpstreamConfig> = { orders: upstreamSchema.parse(upstream) };
    const generation = new Generation(before?.generation);
    await dependencies.watches.open(configs, generation);
    const discovered = await discover(configs, generation, dependencies.discovery);
    const upstreams = await UpstreamSet.open(discovered.configs, dependencies, before?.upstreams);
    await meanwhile?.();
    discovered.feed(upstreams);
    before?.upstreams.retire(upstreams);
    before?.generation.retire(generation);
    return { generation, upstreams, orders: upstreams.get('orders')!, watch: dependencies.watches.get('orders', configs['orders']!) };
  }

  /** By default time stands still, and only I/O goes on. */
  async until(holds: () => boolean | Promise<boolean>, stepMs = 0): Promise<void> {
    while (!(await holds())) await this.clock.advance(stepMs);
  }

  metrics(): Promise<string> {
    return this.dataPlane.metrics.registry.metrics();
  }

  async end({ upstreams, generation }: Version): Promise<void> {
    upstreams.retire();
    generation.retire();
    this.dataPlane.close();
    await this.clock.advance(60_000);
    assert.equal(this.clock.pending, 0);
    assert.doesNotMatch(await this.metrics(), /upstream="orders"/);
  }
}

const names = ({ orders }: Version): string[] => orders.endpoints.map(({ name }) => name);

test('a new version of the configuration takes over what was found, what is known of it, and leaves nothing behind in the end', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'discovery-'));
  const file = join(directory, 'endpoints.yaml');
  writeFileSync(file, '- 127.0.0.1:9001\n');
  const versions = new Versions();
  const config = (limits: object): object => ({ endpoints: ['127.0.0.1:9000'], discovery: { file }, outlierDetection: {}, limits });

  const first = await versions.build(config({ maxRequests: 10 }));
  await versions.until(() => first.orders.endpoints.length === 2, 20);
  assert.deepEqual(names(first), ['127.0.0.1:9000', '127.0.0.1:9001']);

  const second = await versions.build(config({ maxRequests: 10 }), first);
  assert.deepEqual(second.orders.endpoints, first.orders.endpoints);
  assert.equal(second.orders.endpoints[1], first.orders.endpoints[1], 'the very same, with its connections');
  assert.equal(second.watch, first.watch);

  writeFileSync(file, '- 127.0.0.1:9002\n');
  await versions.until(() => second.orders.endpoints.some(({ name }) => name === '127.0.0.1:9002'), 20);
  assert.deepEqual(names(second), ['127.0.0.1:9000', '127.0.0.1:9002']);
  assert.deepEqual(names(first), ['127.0.0.1:9000', '127.0.0.1:9001'], 'the old version follows no longer');

  const third = await versions.build(config({ maxRequests: 20 }), second);
  assert.deepEqual(names(third), names(second), 'other settings: new endpoints, at once');
  assert.notEqual(third.orders.endpoints[0], second.orders.endpoints[0]);
  assert.notEqual(third.watch, second.watch);
  assert.match(await versions.metrics(), /^proxy_upstream_limited_requests\{upstream="orders"\} 0$/m);

  await versions.end(third);
  rmSync(directory, { recursive: true });
});

describe('another discovery section', () => {
  const dns = { name: 'orders.test', type: 'a', port: 9_000, family: 'ipv4', timeout: 500, refreshMin: 1_000, refreshMax: 4_000 };
  let server: TestDnsServer;
  let versions: Versions;
  let first: Version;
  const section = (change: object = {}): object => ({ discovery: { dns: { ...dns, resolver: [`127.0.0.1:${server.port}`], ...change } } });
  beforeEach(async () => {
    server = await TestDnsServer.start();
    server.set('A', dns.name, ['127.0.0.1']);
    versions = new Versions();
    first = await versions.build(section());
    await versions.until(() => first.orders.endpoints.length === 1);
  });
  afterEach(() => server.close());

  const changes: readonly (readonly [change: object, expected: readonly string[]])[] = [
    [{ refreshMin: 2_000 }, ['127.0.0.1:9000']],
    [{ refreshMax: 8_000 }, ['127.0.0.1:9000']],
    [{ timeout: 900 }, ['127.0.0.1:9000']],
    [{ resolver: ['255.255.255.255:53'] }, ['127.0.0.1:9000']],
    [{ name: 'others.test' }, []],
    [{ type: 'srv', port: undefined }, []],
    [{ port: 9_001 }, []],
    [{ family: 'any' }, []],
  ];
  for (const [change, expected] of changes) {
    test(`${JSON.stringify(change)}, while no resolver answers, begins with ${expected.length === 0 ? 'nothing' : 'what was found'}`, async () => {
      server.silent = true;
      const second = await versions.build(section(change), first);
      assert.deepEqual(names(second), expected);
      await versions.clock.advance(10_000);
      assert.deepEqual(names(second), expected);
      await versions.end(second);
    });
  }

  test('follows from there on, and is what the next one begins with', async () => {
    const second = await versions.build(section({ refreshMax: 8_000 }), first);
    server.set('A', dns.name, ['127.0.0.2']);
    await versions.until(() => names(second)[0] === '127.0.0.2:9000', 20);
    server.silent = true;
    const third = await versions.build(section({ refreshMax: 9_000 }), second);
    assert.deepEqual(names(third), ['127.0.0.2:9000']);
    await versions.end(third);
  });

  test('another file, while there is none, begins with nothing', async () => {
    const second = await versions.build({ discovery: { file: '/nowhere/endpoints.yaml' } }, first);
    assert.deepEqual(names(second), []);
    await versions.end(second);
  });

  test('goes on with the metrics of the one before, and what it counts before it is in force is not lost', async () => {
    const found = async (): Promise<number> => Number(/^proxy_discovery_refreshes_total\{upstream="orders",source="dns",result="found"\} (\d+)$/m.exec(await versions.metrics())?.[1]);
    assert.equal(await found(), 1);
    const second = await versions.build(section({ refreshMax: 8_000 }), first, () => versions.until(async () => (await found()) > 1));
    assert.equal(await found(), 2);
    assert.match(await versions.metrics(), /^proxy_discovery_endpoints\{upstream="orders",source="dns"\} 1$/m);
    await versions.end(second);
  });
});
