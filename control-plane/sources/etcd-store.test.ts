import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../../shared/clock/clock.js';
import { addressOf } from '../../shared/config/endpoints.js';
import { ConfigError } from '../../shared/config/load.js';
import { createLogger } from '../../shared/telemetry/logger.js';
import { startEtcd, TestEtcd, withEtcd } from '../../tests/support/etcd.js';
import { until } from '../../tests/support/until.js';
import type { Resource } from '../model/resources.js';
import { storeSchema, type EtcdStoreConfig } from '../store-config.js';
import { EtcdClient } from './etcd-client.js';
import { limits } from './etcd-commit.js';
import { EtcdStore } from './etcd-store.js';
import { storeConformance } from './store-conformance.js';
import { StoreUnavailable } from './store-unavailable.js';
import { Conflict, type Change } from './store.js';

const service = (name: string, ...endpoints: string[]): Resource => ({ kind: 'Service', name, ...(endpoints.length > 0 && { endpoints }) });
const put = (...resources: Resource[]): Change => ({ put: resources, by: 'test', action: 'apply' });
const logger = createLogger({ name: 'test', level: 'silent' });
const prefixes = Array.from({ length: 1_000 }, (_, index) => `/test-${index}`).values();

interface Opened {
  readonly store: EtcdStore;
  readonly client: EtcdClient;
  readonly close: () => Promise<void>;
}

async function open(endpoints: readonly string[], prefix: string, { revisions = 500, seed = [] as readonly Resource[], timeout = 3_000 } = {}): Promise<Opened> {
  const config = storeSchema.parse({ kind: 'etcd', endpoints, prefix, timeout }) as EtcdStoreConfig;
  const client = new EtcdClient(config, systemClock, logger);
  const store = await EtcdStore.open({ client, revisions, timeoutMs: timeout, seed, clock: systemClock, random: Math.random, logger });
  const close = store.close.bind(store);
  const closeAll = async (): Promise<void> => {
    client.close();
    await close();
  };
  store.close = closeAll;
  return { store, client, close: closeAll };
}

describe('etcd as a store of several control planes', withEtcd, () => {
  let etcd: TestEtcd;
  before(async () => {
    etcd = await TestEtcd.start();
  });
  after(() => etcd.remove());

  storeConformance('etcd', async () => (await open(etcd.endpoints, prefixes.next().value!)).store);

  /** Two control planes with one prefix. */
  const two = async (options = {}): Promise<[Opened, Opened, string]> => {
    const prefix = prefixes.next().value!;
    return [await open(etcd.endpoints, prefix, options), await open(etcd.endpoints, prefix, options), prefix];
  };

  test('a change at one reaches the others, whole', async () => {
    const [a, b] = await two();
    const seen: number[] = [];
    b.store.onChange(() => seen.push(b.store.model.all.length));
    const version = await a.store.change(put(...Array.from({ length: 50 }, (_, index) => service(`s${index}`))));
    await until(() => b.store.version === version);
    assert.deepEqual(seen, [50]);
    assert.equal(b.store.versionOf('Service', 's7'), version);
    assert.deepEqual((await b.store.history(1))[0]!.by, 'test');
    await Promise.all([a.close(), b.close()]);
  });

  test('of two control planes whose callers expect the same version exactly one makes its change', async () => {
    const [a, b] = await two();
    let version = await a.store.change(put(service('orders')));
    for (let round = 0; round < 20; round++) {
      const expected = [{ kind: 'Service' as const, name: 'orders', version }];
      const outcomes = await Promise.allSettled([a, b].map(({ store }, index) => store.change({ ...put(service('orders', `10.0.${index}.1:${round + 1}`)), expected })));
      const [won] = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
      const lost = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
      assert.equal(lost.length, 1);
      assert.ok(lost[0] instanceof Conflict, String(lost[0]));
      version = won!;
    }
    await Promise.all([a.close(), b.close()]);
  });

  test('nobody is refused, or told that nothing changes, by a model that is behind', async () => {
    const [a, b] = await two();
    for (let round = 1; round <= 30; round++) {
      const created = await a.store.change(put(service('orders', `10.0.0.1:${round}`)));
      // At once at the other, whose watch may not have brought it yet.
      const removed = await b.store.change({ remove: [{ kind: 'Service', name: 'orders' }], by: 'test', action: 'delete', expected: [{ kind: 'Service', name: 'orders', version: created }] });
      assert.ok(removed > created);
      assert.deepEqual(b.store.model.all, []);
    }
    await Promise.all([a.close(), b.close()]);
  });

  test('writers at several control planes lose nothing', async () => {
    const [a, b] = await two();
    const names = Array.from({ length: 60 }, (_, index) => `s${index}`);
    const versions = await Promise.all(names.map((name, index) => [a, b][index % 2]!.store.change(put(service(name)))));
    assert.equal(new Set(versions).size, names.length);
    for (const { store } of [a, b]) await until(() => store.version === Math.max(...versions));
    assert.equal(b.store.model.services.length, names.length);
    await Promise.all([a.close(), b.close()]);
  });

  test('a seed is stored once, whoever starts first', async () => {
    const prefix = prefixes.next().value!;
    const opened = await Promise.all([1, 2, 3].map(() => open(etcd.endpoints, prefix, { seed: [service('orders')] })));
    for (const { store } of opened) await until(() => store.version === 1);
    assert.deepEqual((await opened[0]!.store.history(10)).map(({ action }) => action), ['seed']);
    await Promise.all(opened.map(({ close }) => close()));
  });

  test('ten thousand resources are one change, and every step of the way there is a whole one', async () => {
    // Six stores in one process, each of which reads it all: an answer may well lie there for seconds.
    const patient = { timeout: 60_000 };
    const [a, b, prefix] = await two(patient);
    const many = (port: number): Resource[] => Array.from({ length: 10_000 }, (_, index) => service(`service-${index}`, ...Array.from({ length: 8 }, (__, host) => `10.0.0.${host}:${port}`)));
    const sizes = new Set<string>();
    const stop = b.store.onChange(() => sizes.add(`${b.store.model.all.length} ${new Set(b.store.model.services.map(({ endpoints }) => addressOf(endpoints![0]!))).size}`));
    const first = await a.store.change(put(...many(1)));
    const changing = a.store.change(put(...many(2)));
    // One that starts in between reads one of the two.
    const starters = await Promise.all(Array.from({ length: 4 }, () => open(etcd.endpoints, prefix, patient)));
    for (const { store } of starters) assert.equal(new Set(store.model.services.map(({ endpoints }) => addressOf(endpoints![0]!))).size, 1);
    const second = await changing;
    for (const { store } of [a, b, ...starters]) {
      await until(() => store.version === second);
      assert.deepEqual([store.model.all.length, store.versionOf('Service', 'service-9999')], [10_000, second]);
      assert.deepEqual(store.model.get('Service', 'service-5000'), many(2)[5_000]);
    }
    stop();
    assert.deepEqual([...sizes], ['10000 1']);
    assert.deepEqual((await b.store.at(first))!.get('Service', 'service-77'), many(1)[77]);
    assert.equal((await b.store.history(1))[0]!.changes.length, 10_000);
    const third = await b.store.change(put(service('one-more')));
    assert.equal(third, second + 1);
    await Promise.all([a, b, ...starters].map(({ close }) => close()));
  });

  test('a large change whose maker died in the middle is finished by the next', async () => {
    const [a, b, prefix] = await two();
    await a.store.change(put(...Array.from({ length: 300 }, (_, index) => service(`s${index}`))));
    // What a crash right after the commit leaves: the version is pending, and not one resource is written.
    await etcd.ctl(['del', '--prefix', `${prefix}/store/resources/`]);
    await etcd.ctl(['put', `${prefix}/store/version`, '{"version":1,"pending":true}']);
    const late = await open(etcd.endpoints, prefix);
    assert.equal(late.store.model.all.length, 300);
    assert.equal(await b.store.change(put(service('more'))), 2);
    const written = await etcd.ctl(['get', '--prefix', `${prefix}/store/resources/`, '--keys-only']);
    assert.equal(written.split('\n').filter((line) => line !== '').length, 301);
    assert.equal(await etcd.ctl(['get', `${prefix}/store/version`, '--print-value-only']), '{"version":2}\n');
    await Promise.all([a.close(), b.close(), late.close()]);
  });

  test('what is beyond the limits is refused, with the limit and the way', async () => {
    const { store, close } = await open(etcd.endpoints, prefixes.next().value!);
    const large = { kind: 'Policy', name: 'large', placement: 'none', target: { services: ['s'] }, spec: { jwt: { issuer: 'i', audience: 'a', jwks: 'x'.repeat(limits.resourceBytes) } } } as Resource;
    await assert.rejects(store.change(put(service('s'), large)), (error) => error instanceof ConfigError && /Policy\/large: has \d+ characters as JSON; etcd takes 1000000: keep what is large in a file/.test(error.message));
    assert.equal(store.version, 0);
    await close();
  });

  test('history is bounded, and so is what can be gone back to', async () => {
    const { store, close } = await open(etcd.endpoints, prefixes.next().value!, { revisions: 5 });
    for (let round = 1; round <= 12; round++) await store.change(put(service('orders', `10.0.0.1:${round}`)));
    assert.deepEqual((await store.history(100)).map(({ version }) => version), [12, 11, 10, 9, 8]);
    assert.equal((await store.at(7))!.services.length, 1);
    assert.equal(await store.at(6), undefined);
    await close();
  });

  test('a resource that cannot be used is left out alone', async () => {
    const [a, b, prefix] = await two();
    await a.store.change(put(service('orders', '10.0.0.1:1'), service('users')));
    for (const value of ['{"version":1,"resource":{"kind":"Service","name":"orders","endpoints":7}}', 'garbage']) {
      await etcd.ctl(['put', `${prefix}/store/resources/Service/orders`, value]);
      await a.store.change(put(service(`after-${value.length}`)));
      await until(() => b.store.version === a.store.version);
      assert.deepEqual(b.store.model.get('Service', 'orders'), service('orders', '10.0.0.1:1'));
    }
    const late = await open(etcd.endpoints, prefix);
    assert.deepEqual([late.store.model.get('Service', 'orders'), late.store.model.services.length], [undefined, 3]);
    await Promise.all([a.close(), b.close(), late.close()]);
  });
});

describe('a store whose etcd has trouble', withEtcd, () => {
  test('a compacted watch, and an etcd that is killed and comes back: everything is read again', async (context) => {
    const etcd = await startEtcd(context);
    const a = await open(etcd.endpoints, '/mesh');
    const b = await open(etcd.endpoints, '/mesh');
    for (let round = 1; round <= 5; round++) {
      const version = await a.store.change(put(service('orders', `10.0.0.1:${round}`)));
      await until(() => b.store.version === version);
      // While b cannot watch, the revision it would resume from is compacted away.
      await etcd.kill();
      assert.equal(b.store.model.services.length, 1, 'reading goes on');
      await assert.rejects(b.store.change(put(service('never'))), StoreUnavailable);
      etcd.run();
      await etcd.ready();
      await etcd.ctl(['put', '/mesh/other', 'x']);
      const revision = /"revision":(\d+)/.exec(await etcd.ctl(['get', '/mesh/other', '-w', 'json']))![1]!;
      await etcd.ctl(['compact', revision]);
    }
    const version = await a.store.change(put(service('last')));
    await until(() => b.store.version === version);
    await Promise.all([a.close(), b.close()]);
  });

  test('an etcd that hangs is unavailable, and not for ever', async (context) => {
    const etcd = await startEtcd(context);
    const { store, client, close } = await open(etcd.endpoints, '/mesh', { timeout: 500 });
    await store.change(put(service('orders')));
    etcd.freeze(0, true);
    // It takes a moment until all of its threads stand still.
    let refusal: unknown;
    for (let round = 0; refusal === undefined; round++) await store.change(put(service(`slow-${round}`))).catch((error: unknown) => (refusal = error));
    assert.ok(refusal instanceof StoreUnavailable, (refusal as Error).message);
    assert.equal(client.isAvailable, false);
    assert.ok(store.model.get('Service', 'orders') !== undefined);
    etcd.freeze(0, false);
    let version: number | undefined;
    while (version === undefined) version = await store.change(put(service('again'))).catch(() => undefined);
    assert.ok(client.isAvailable);
    await close();
  });

  test('of three members one may die, and the store goes on', async (context) => {
    const etcd = await startEtcd(context, { members: 3 });
    const stores = await Promise.all([0, 1, 2].map((turn) => open([...etcd.endpoints.slice(turn), ...etcd.endpoints.slice(0, turn)], '/mesh')));
    await stores[0]!.store.change(put(service('before')));
    for (const { store } of stores) await until(() => store.version === 1);
    await etcd.kill(1);
    for (const [index, { store }] of stores.entries()) {
      let version: number | undefined;
      while (version === undefined) version = await store.change(put(service(`after-${index}`))).catch(() => undefined);
      const made = version;
      for (const other of stores) await until(() => other.store.version >= made);
    }
    await Promise.all(stores.map(({ close }) => close()));
  });

  test('an etcd that has lost its contents is not believed', async (context) => {
    const etcd = await startEtcd(context);
    const { store, close } = await open(etcd.endpoints, '/mesh');
    await store.change(put(service('orders')));
    await etcd.kill();
    rmSync(etcd.dataOf(0), { recursive: true });
    etcd.run();
    await etcd.ready();
    await until(() => !store.isLive);
    let error: unknown;
    while (!/lost its contents/.test(String(error))) error = await store.change(put(service('users'))).catch((reason: unknown) => reason);
    assert.deepEqual([store.version, store.model.services.map(({ name }) => name)], [1, ['orders']]);
    await close();
  });

  test('an etcd that was restored from a backup is believed, and goes on from there', async (context) => {
    const etcd = await startEtcd(context);
    const { store, close } = await open(etcd.endpoints, '/mesh');
    await store.change(put(service('orders')));
    const backup = join(etcd.directory, 'backup.db');
    await etcd.ctl(['snapshot', 'save', backup]);
    await store.change(put(service('users')));
    await store.change(put(service('payments')));
    await etcd.kill();
    await etcd.restore(backup);
    etcd.run();
    await until(() => store.version === 1);
    assert.deepEqual(store.model.services.map(({ name }) => name), ['orders']);
    let version: number | undefined;
    while (version === undefined) version = await store.change(put(service('next'))).catch(() => undefined);
    assert.equal(version, 2);
    assert.deepEqual((await store.history(10)).map((revision) => revision.version), [2, 1]);
    await close();
  });

  test('it waits for an etcd that is not there yet', async (context) => {
    const etcd = await startEtcd(context);
    await etcd.kill();
    const opening = open(etcd.endpoints, '/mesh');
    etcd.run();
    const { store, close } = await opening;
    assert.equal(await store.change(put(service('orders'))), 1);
    await close();
  });
});

