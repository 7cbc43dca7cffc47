import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { TestAuthority } from '../../tests/support/certificates.js';
import { FakeClock } from '../clock/fake-clock.js';
import { upstreamSchema } from '../config/sections.js';
import type { Logger } from '../telemetry/logger.js';
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
