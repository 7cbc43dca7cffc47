import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { TestAuthority } from '../../tests/support/certificates.js';
import { exchange, request } from '../../tests/support/policy.js';
import { FakeClock } from '../clock/fake-clock.js';
import { Generation } from '../config/generation.js';
import { upstreamSchema } from '../config/sections.js';
import { silentLogger, type Logger } from '../telemetry/logger.js';
import type { Endpoint } from '../upstream/endpoint.js';
import { UpstreamSet } from '../upstream/upstream-set.js';
import { Upstream } from '../upstream/upstream.js';
import { DataPlane } from './data-plane.js';

let authority: TestAuthority;
before(async () => (authority = await TestAuthority.create()));
after(() => authority.remove());

test('an exchange of the certificates towards an upstream is logged and counted once, whether they can be used or not, while a version of it is in force', async (context) => {
  const lines: [level: string, upstream: string][] = [];
  const write = (level: string) => (about: { upstream: string }): void => void lines.push([level, about.upstream]);
  const dataPlane = new DataPlane(new FakeClock(), { info: write('info'), error: write('error') } as unknown as Logger, { accessLog: false });
  context.after(() => dataPlane.close());
  const reloads = async (): Promise<string[]> => (await dataPlane.metrics.registry.metrics()).match(/^proxy_certificate_reloads_total.*$/gm) ?? [];
  const [ours, other] = [await authority.issue('ours', { dns: ['ours.test'] }), await authority.issue('other', { dns: ['other.test'] })];
  const config = (endpoint: string, more: object = {}) => upstreamSchema.parse({ endpoints: [endpoint], tls: { ca: authority.ca, ...ours }, ...more });

  const first = new Upstream('orders', config('127.0.0.1:1'), dataPlane.dependencies);
  copyFileSync(other.key, ours.key);
  await dataPlane.refreshIdentity();
  assert.deepEqual(lines, [['error', 'orders']]);
  copyFileSync(other.cert, ours.cert);
  await dataPlane.refreshIdentity();
  assert.deepEqual(lines.splice(0), [['error', 'orders'], ['info', 'orders']]);
  assert.deepEqual(await reloads(), ['proxy_certificate_reloads_total{result="refused"} 1', 'proxy_certificate_reloads_total{result="used"} 1']);

  const exchange = async (): Promise<void> => {
    await authority.issue('ours', { dns: ['ours.test'] });
    await dataPlane.refreshIdentity();
  };
  const second = new Upstream('orders', config('127.0.0.1:2'), dataPlane.dependencies, first);
  first.retire(second);
  await exchange();
  assert.deepEqual(lines.splice(0), [['info', 'orders']], 'the same settings');
  const third = new Upstream('orders', config('127.0.0.1:2', { idleTimeout: '1s' }), dataPlane.dependencies, second);
  second.retire(third);
  await exchange();
  assert.deepEqual(lines.splice(0), [['info', 'orders']], 'other settings');
  third.retire();
  await exchange();
  assert.deepEqual(lines, []);
});

test('what is counted of an endpoint goes when it is closed for good, not with a version of it, and does not come back', async (context) => {
  const dataPlane = new DataPlane(new FakeClock(), silentLogger, { accessLog: false });
  context.after(() => dataPlane.close());
  const { dependencies, metrics } = dataPlane;
  const counted = async (): Promise<string[]> => [...(await metrics.registry.metrics()).matchAll(/^proxy_(breaker_transitions|outlier_ejections)_total\{.*endpoint="127.0.0.1:(\d)".*\} (\d)$/gm)].map(([, name, endpoint, count]) => `${name} ${endpoint} ${count}`).sort();
  for (const more of [{}, { outlierDetection: { consecutiveErrors: 1 } }]) {
    const configs = (idleTimeout: string, ...ports: number[]) => ({
      orders: upstreamSchema.parse({ endpoints: ports.map((port) => `127.0.0.1:${port}`), breaker: { volumeThreshold: 1, errorThreshold: 1 }, idleTimeout, balance: { algorithm: 'round-robin' }, ...more }),
    });
    const build = async (config: ReturnType<typeof configs>, before?: { generation: Generation; upstreams: UpstreamSet }) => {
      const generation = new Generation(before?.generation);
      await dependencies.watches.open(config, generation);
      const upstreams = await UpstreamSet.open(config, dependencies, before?.upstreams);
      before?.upstreams.retire(upstreams);
      before?.generation.retire(generation);
      return { generation, upstreams, endpoints: upstreams.get('orders')!.endpoints };
    };
    const fail = async (endpoint: Endpoint | undefined): Promise<void> => {
      const one = exchange();
      await assert.rejects(endpoint!.service(request(one), one));
    };
    const both = (endpoint: number): string[] => [`breaker_transitions ${endpoint} 1`, ...('outlierDetection' in more ? [`outlier_ejections ${endpoint} 1`] : [])];

    const first = await build(configs('1s', 1, 2));
    for (const endpoint of first.endpoints) await fail(endpoint);
    assert.deepEqual((await counted()).filter((line) => line.startsWith('b')), ['breaker_transitions 1 1', 'breaker_transitions 2 1']);
    const second = await build(configs('2s', 1, 2), first);
    assert.notEqual(second.endpoints[0], first.endpoints[0]);
    assert.equal((await counted()).filter((line) => line.startsWith('b')).length, 2, 'new settings');
    const third = await build(configs('2s', 1), second);
    assert.deepEqual(await counted(), both(1), 'one is gone');
    await fail(second.endpoints[1]);
    assert.deepEqual(await counted(), both(1), 'and what it had in flight counts no more');
    third.upstreams.retire();
    third.generation.retire();
    assert.deepEqual(await counted(), []);
  }
});
