import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { after, before, describe, test, type TestContext } from 'node:test';
import { systemClock } from '../../shared/clock/clock.js';
import { createLogger } from '../../shared/telemetry/logger.js';
import { startEtcd, TestEtcd, withEtcd } from '../../tests/support/etcd.js';
import { until } from '../../tests/support/until.js';
import { storeSchema, type EtcdStoreConfig } from '../store-config.js';
import { EtcdClient } from './etcd-client.js';
import { EtcdInstances } from './etcd-instances.js';
import { StoreUnavailable } from './store-unavailable.js';

const logger = createLogger({ name: 'test', level: 'silent' });
const prefixes = Array.from({ length: 1_000 }, (_, index) => `/test-${index}`).values();
/** The shortest lease that etcd gives. */
const ttl = 2_000;
const never = 600_000;

interface Opened {
  readonly instances: EtcdInstances;
  /** Names of those of a service that are there. */
  readonly names: (service?: string) => string[];
  readonly addresses: (service?: string) => string[];
  readonly close: () => Promise<void>;
  /** Ends without a word, as by kill -9: nothing is revoked. */
  readonly vanish: () => Promise<void>;
}

/** One control plane's registry; closed with the test. */
async function open(context: TestContext, endpoints: readonly string[], prefix: string, graceMs = never): Promise<Opened> {
  const client = new EtcdClient(storeSchema.parse({ kind: 'etcd', endpoints, prefix, timeout: 2_000 }) as EtcdStoreConfig, systemClock, logger);
  const instances = await EtcdInstances.open({ client, clock: systemClock, random: Math.random, logger, id: String(Math.random()), graceMs });
  const close = async (): Promise<void> => {
    await instances.close();
    client.close();
  };
  const vanish = async (): Promise<void> => {
    client.close();
    await instances.close();
  };
  context.after(vanish);
  return {
    instances, close, vanish,
    names: (service = 'orders') => instances.instances.filter((one) => one.service === service).map(({ instance }) => instance).sort(),
    addresses: (service = 'orders') => instances.endpoints(service).map((endpoint) => (typeof endpoint === 'string' ? endpoint : endpoint.address)),
  };
}

const orders = (instance: string, port: number) => ({ service: 'orders', instance, endpoint: `127.0.0.1:${port}` });

/** Renews like sidecars do, at whichever registry is given, until it is stopped; failures are tried again. */
function renewing(where: () => Opened, ...instances: readonly ReturnType<typeof orders>[]): { readonly count: () => number; readonly stop: () => Promise<void> } {
  let isStopped = false;
  let count = 0;
  const running = Promise.all(
    instances.map(async (instance) => {
      while (!isStopped) {
        const succeeded = await where().instances.register(instance, ttl).then(() => true, () => false);
        if (succeeded) count++;
        await new Promise((resolve) => setTimeout(resolve, succeeded ? ttl / 5 : 100));
      }
    }),
  );
  return {
    count: () => count,
    async stop() {
      isStopped = true;
      await running;
    },
  };
}

describe('the registry of several control planes', { ...withEtcd, concurrency: 4 }, () => {
  let etcd: TestEtcd;
  before(async () => {
    etcd = await TestEtcd.start();
  });
  after(() => etcd.remove());

  const two = async (context: TestContext, graceMs?: number): Promise<[Opened, Opened, string]> => {
    const prefix = prefixes.next().value!;
    return [await open(context, etcd.endpoints, prefix, graceMs), await open(context, etcd.endpoints, prefix, graceMs), prefix];
  };

  test('what is registered at one is seen at all, and so is what changes and what leaves', async (context) => {
    const [a, b] = await two(context);
    await a.instances.register(orders('two', 2), 60_000);
    await a.instances.register(orders('one', 1), 60_000);
    await until(() => b.addresses().length === 2);
    assert.deepEqual([a.addresses(), b.addresses()], [['127.0.0.1:1', '127.0.0.1:2'], ['127.0.0.1:1', '127.0.0.1:2']]);
    let changes = 0;
    b.instances.onChange(() => changes++);
    for (let round = 0; round < 5; round++) await b.instances.register(orders('one', 1), 60_000);
    assert.equal(changes, 0, 'renewals are no changes');
    await b.instances.register({ ...orders('one', 1), endpoint: { address: '127.0.0.1:1', zone: 'z' } }, 60_000);
    await until(() => typeof a.instances.endpoints('orders')[0] === 'object');
    assert.equal(await b.instances.deregister('orders', 'two'), true);
    assert.equal(await b.instances.deregister('orders', 'two'), false);
    await until(() => a.names().length === 1);
    for (const { leaseMs } of [...a.instances.instances, ...b.instances.instances]) assert.ok(leaseMs > 30_000 && leaseMs <= 60_000, `${leaseMs}`);
  });

  test('an instance is renewed at whichever control plane its sidecar speaks to', async (context) => {
    const [a, b] = await two(context);
    await a.instances.register(orders('one', 1), ttl);
    await a.instances.register(orders('beside', 2), 60_000);
    await until(() => b.names().length === 2);
    let changes = 0;
    for (const { instances } of [a, b]) instances.onChange(() => changes++);
    const sidecar = renewing(() => b, orders('one', 1));
    await until(() => sidecar.count() >= 15);
    assert.deepEqual([a.names(), b.names(), changes], [['beside', 'one'], ['beside', 'one'], 0]);
    await sidecar.stop();
  });

  test('an instance that dies is gone with its lease, and needs no grace for that when nothing else was wrong', async (context) => {
    const [a, b] = await two(context);
    const [alive, dying] = [renewing(() => a, orders('alive', 1)), renewing(() => b, orders('dying', 2))];
    // For as long as the start of a control plane may be the reason for a lease that ends.
    await until(() => dying.count() >= 14);
    await dying.stop();
    const diedAt = performance.now();
    await until(() => a.addresses().length === 1 && b.addresses().length === 1);
    assert.deepEqual([a.names(), b.names()], [['alive'], ['alive']]);
    // The lease, and what etcd takes to see that it has ended; on a busy machine it may take longer.
    assert.ok(performance.now() - diedAt < 10_000);
    await alive.stop();
  });

  test('the last instance of a service is never taken away by silence, and a good-bye does', async (context) => {
    const [a, b] = await two(context, 500);
    await a.instances.register(orders('last', 1), ttl);
    await until(() => b.addresses().length === 1);
    await until(() => a.names().length === 0 && b.names().length === 0);
    assert.deepEqual([a.addresses(), b.addresses()], [['127.0.0.1:1'], ['127.0.0.1:1']]);
    assert.deepEqual(a.instances.standing('orders'), { state: 'known' });
    await a.instances.register(orders('next', 2), 60_000);
    await until(() => b.addresses().length === 1 && b.addresses()[0] === '127.0.0.1:2');
    await b.instances.deregister('orders', 'next');
    await until(() => a.addresses().length === 0);
    assert.deepEqual([a, b].map(({ instances }) => [instances.standing('orders').state, instances.standing('users').state]), [['vacated', 'unknown'], ['vacated', 'unknown']]);
  });

  test('control planes that were all away for longer than the leases empty nothing, and give the grace', async (context) => {
    const [a, b, prefix] = await two(context);
    for (const port of [1, 2, 3]) await a.instances.register(orders(`i${port}`, port), ttl);
    await Promise.all([a.vanish(), b.vanish()]);
    const leases = async (): Promise<string> => etcd.ctl(['get', '--prefix', `${prefix}/registry/leases/`, '--keys-only']);
    while ((await leases()).trim() !== '');
    const graceMs = 6_000;
    const openedAt = performance.now();
    const c = await open(context, etcd.endpoints, prefix, graceMs);
    assert.deepEqual([c.names(), c.addresses().length], [['i1', 'i2', 'i3'], 3]);
    const back = renewing(() => c, orders('i1', 1));
    await until(() => back.count() >= 4);
    const seen = c.names();
    if (performance.now() - openedAt < graceMs) assert.deepEqual(seen, ['i1', 'i2', 'i3'], 'one that is back takes nothing from the others');
    await until(() => c.addresses().length === 1);
    assert.deepEqual(c.names(), ['i1']);
    await back.stop();
  });

  test('when a control plane dies, the leases that it would have renewed get the grace', async (context) => {
    const [a, b] = await two(context, 8_000);
    const beside = renewing(() => b, orders('beside', 9));
    const sidecars = renewing(() => a, orders('one', 1), orders('two', 2));
    await until(() => sidecars.count() >= 26);
    await Promise.all([sidecars.stop(), a.vanish()]);
    // Nobody renews until the leases have ended, and been missed.
    await until(() => b.instances.instances.some(({ instance, leaseMs }) => instance === 'one' && leaseMs > 2 * ttl));
    assert.deepEqual(b.names(), ['beside', 'one', 'two']);
    const elsewhere = renewing(() => b, orders('one', 1), orders('two', 2));
    await until(() => elsewhere.count() >= 4);
    assert.deepEqual(b.addresses().length, 3);
    await Promise.all([beside.stop(), elsewhere.stop()]);
  });

  test('names may hold anything', async (context) => {
    const [a, b] = await two(context);
    await a.instances.register({ service: 'a/b c', instance: '%2F/ü', endpoint: '127.0.0.1:1' }, 60_000);
    await until(() => b.addresses('a/b c').length === 1);
    assert.equal(b.instances.instances[0]!.instance, '%2F/ü');
    assert.equal(await b.instances.deregister('a/b c', '%2F/ü'), true);
  });

  test('a thousand sidecars renew at one control plane, and nobody is lost', async (context) => {
    const [a, b] = await two(context);
    const all = Array.from({ length: 1_000 }, (_, index) => orders(`i${index}`, index + 1));
    for (let start = 0; start < all.length; start += 100) await Promise.all(all.slice(start, start + 100).map((one) => a.instances.register(one, 60_000)));
    await until(() => b.addresses().length === 1_000);
    const startedAt = performance.now();
    await Promise.all(all.map((one) => b.instances.register(one, 60_000)));
    const renewedMs = performance.now() - startedAt;
    assert.ok(renewedMs < 10_000, `${Math.round(renewedMs)} ms for 1,000 renewals`);
    context.diagnostic(`1,000 renewals in ${Math.round(renewedMs)} ms`);
  });
});

describe('a registry whose etcd has trouble', withEtcd, () => {
  test('etcd is killed -9 under registrations, is away for longer than the leases, and comes back: nobody is lost', async (context) => {
    const etcd = await startEtcd(context);
    const [a, b] = [await open(context, etcd.endpoints, '/mesh', 10_000), await open(context, etcd.endpoints, '/mesh', 10_000)];
    const all = Array.from({ length: 12 }, (_, index) => orders(`i${index}`, index + 1));
    const sidecars = [renewing(() => a, ...all.slice(0, 6)), renewing(() => b, ...all.slice(6))];
    await until(() => a.addresses().length === 12 && b.addresses().length === 12);
    let fewest = 12;
    for (const one of [a, b]) one.instances.onChange(() => (fewest = Math.min(fewest, one.addresses().length)));
    for (let round = 0; round < 2; round++) {
      await etcd.kill();
      const killedAt = performance.now();
      await until(() => performance.now() - killedAt > ttl + 1_000);
      await assert.rejects(a.instances.register(orders('new', 99), ttl), StoreUnavailable);
      assert.deepEqual([a.names().length, b.names().length], [12, 12], 'the view stays');
      etcd.run();
      const counts = sidecars.map(({ count }) => count());
      // All of them have renewed a few times, well beyond their leases.
      await until(() => sidecars.every(({ count }, index) => count() > counts[index]! + 6 * 8));
      assert.deepEqual([a.names().length, b.names().length], [12, 12]);
    }
    assert.equal(fewest, 12);
    await Promise.all(sidecars.map(({ stop }) => stop()));
  });

  test('an etcd that lost its contents gets the instances of before again', async (context) => {
    const etcd = await startEtcd(context);
    const [a, b] = [await open(context, etcd.endpoints, '/mesh', 20_000), await open(context, etcd.endpoints, '/mesh', 20_000)];
    for (const port of [1, 2, 3]) await a.instances.register(orders(`i${port}`, port), ttl);
    await until(() => b.addresses().length === 3);
    let fewest = 3;
    for (const one of [a, b]) one.instances.onChange(() => (fewest = Math.min(fewest, one.addresses().length)));
    await etcd.kill();
    rmSync(etcd.dataOf(0), { recursive: true });
    etcd.run();
    await etcd.ready();
    while (!(await etcd.ctl(['get', '--prefix', '/mesh/registry/records/', '--keys-only'])).includes('i3'));
    const late = await open(context, etcd.endpoints, '/mesh');
    assert.deepEqual([late.names(), fewest], [['i1', 'i2', 'i3'], 3]);
  });
});
