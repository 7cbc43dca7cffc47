import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { systemClock } from '../../shared/clock/clock.js';
import { ConfigError } from '../../shared/config/load.js';
import { Model } from '../model/model.js';
import type { Resource } from '../model/resources.js';
import { EmbeddedStore, type EmbeddedStoreOptions } from './embedded-store.js';
import { storeConformance } from './store-conformance.js';
import { StoreUnavailable } from './store-unavailable.js';

const root = mkdtempSync(join(tmpdir(), 'embedded-store-test-'));
after(() => rmSync(root, { recursive: true, force: true }));
let count = 0;
const fresh = (): string => join(root, String(++count));
const open = (directory: string | undefined, options: Partial<EmbeddedStoreOptions> = {}): Promise<EmbeddedStore> => EmbeddedStore.open({ directory, clock: systemClock, ...options });
const service = (name: string, ...endpoints: string[]): Resource => ({ kind: 'Service', name, ...(endpoints.length > 0 && { endpoints }) });
const apply = (...resources: Resource[]) => ({ put: resources, by: 'test', action: 'apply' });
const fileIn = (directory: string): string => join(directory, 'resources.json');

storeConformance('the embedded store on disk', () => open(fresh()));
storeConformance('the embedded store in memory', () => open(undefined));

describe('the embedded store', () => {
  test('after a restart resources, versions and history are what they were', async () => {
    const directory = fresh();
    const store = await open(directory);
    await store.change(apply(service('orders'), service('users')));
    await store.change(apply(service('orders', '127.0.0.1:1')));
    await store.change({ remove: [{ kind: 'Service', name: 'users' }], by: 'alice', action: 'delete' });
    await store.close();
    const again = await open(directory);
    assert.deepEqual([again.version, again.model.all, again.versionOf('Service', 'orders')], [3, store.model.all, 2]);
    assert.deepEqual(await again.history(10), await store.history(10));
    assert.deepEqual((await again.at(1))!.all, [service('orders'), service('users')]);
    assert.equal(await again.change(apply(service('users'))), 4);
    await again.close();
    assert.equal(statSync(fileIn(directory)).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(directory), ['resources.json']);
  });

  test('a seed fills a store in which nothing was ever stored, and no other', async () => {
    const directory = fresh();
    const first = await open(directory, { seed: [service('orders')] });
    assert.deepEqual((await first.history(1)).map(({ by, action }) => [by, action]), [['configuration', 'seed']]);
    await first.change({ remove: [{ kind: 'Service', name: 'orders' }], by: 'test', action: 'delete' });
    await first.close();
    const second = await open(directory, { seed: [service('orders')] });
    assert.deepEqual(second.model.all, []);
    await second.close();
  });

  test('what was at a version long ago is made in one go, and not a model for each revision since', async (context) => {
    const store = await open(undefined);
    await store.change(apply(service('orders'), service('users')));
    for (let port = 1; port <= 50; port++) await store.change(apply(service('orders', `127.0.0.1:${port}`)));
    await store.change({ remove: [{ kind: 'Service', name: 'users' }, { kind: 'Service', name: 'orders' }], by: 'test', action: 'delete' });
    const made = context.mock.method(Model.prototype, 'with');
    assert.deepEqual((await store.at(1))!.all, [service('orders'), service('users')]);
    assert.equal(made.mock.callCount(), 1);
    await store.close();
  });

  test('history is bounded by revisions and by bytes, and what it no longer reaches is not made up', async () => {
    const byCount = await open(undefined, { history: { revisions: 3, bytes: 1_000_000 } });
    for (let index = 1; index <= 10; index++) await byCount.change(apply(service(`s${index}`)));
    assert.deepEqual((await byCount.history(100)).map(({ version }) => version), [10, 9, 8]);
    assert.equal((await byCount.at(7))!.services.length, 7);
    assert.equal(await byCount.at(6), undefined);
    const byBytes = await open(undefined, { history: { revisions: 100, bytes: 2_000 } });
    for (let index = 1; index <= 10; index++) await byBytes.change(apply(service('big', ...Array.from({ length: 20 }, (_, port) => `10.0.0.${index}:${port + 1}`))));
    assert.ok((await byBytes.history(100)).length < 5);
    assert.equal((await byBytes.history(100))[0]!.version, 10, 'the newest stays in any case');
  });

  test('a file of the form before history is taken over', async () => {
    const directory = fresh();
    await (await open(directory)).close();
    writeFileSync(fileIn(directory), JSON.stringify({ version: 41, resources: [service('orders')] }, null, 2));
    const store = await open(directory);
    assert.deepEqual([store.version, store.model.all, store.versionOf('Service', 'orders'), await store.history(5)], [41, [service('orders')], 41, []]);
    assert.equal(await store.change(apply(service('users'))), 42);
    await store.close();
    const again = await open(directory);
    assert.deepEqual([again.version, again.model.services.length], [42, 2]);
    await again.close();
  });

  const wreck: readonly (readonly [name: string, (text: string) => string, RegExp])[] = [
    ['cut off', (text) => text.slice(0, -40), /damaged: it is not whole JSON/],
    ['empty', () => '', /damaged: it is not whole JSON/],
    ['with one bit turned', (text) => text.replace('orders', 'ordert'), /not those of its checksum/],
    ['of a later format', (text) => text.replace('"format":2', '"format":3'), /has format 3; this program reads format 2/],
    ['of the old form, and wrong', () => '{"version":1,"resources":[{"kind":"Service","name":"Ä"}]}', /resources\[0\]\.name: expected a lower-case name/],
    ['something else', () => '[1, 2]', /nothing was changed/],
  ];
  for (const [name, change, message] of wreck) {
    test(`a file that is ${name} is refused with its path and a reason, and left as it is`, async () => {
      const directory = fresh();
      const store = await open(directory);
      await store.change(apply(service('orders')));
      await store.close();
      const damaged = change(readFileSync(fileIn(directory), 'utf8'));
      writeFileSync(fileIn(directory), damaged);
      await assert.rejects(open(directory, { seed: [service('seed')] }), (error) => {
        assert.ok(error instanceof ConfigError);
        assert.match(error.message, message);
        assert.ok(error.message.startsWith(fileIn(directory)), error.message);
        return true;
      });
      assert.equal(readFileSync(fileIn(directory), 'utf8'), damaged);
    });
  }

  test('what a writer that was killed has left beside the file is not read, and is replaced', async () => {
    const directory = fresh();
    const store = await open(directory);
    await store.change(apply(service('orders')));
    await store.close();
    writeFileSync(`${fileIn(directory)}.new`, '{"format":2,"half');
    const again = await open(directory);
    assert.deepEqual(again.model.all, [service('orders')]);
    await again.change(apply(service('users')));
    assert.ok(!existsSync(`${fileIn(directory)}.new`));
    await again.close();
  });

  test('when the disk does not take a change, it is not acknowledged, nobody is told, and what was there counts', async () => {
    const directory = fresh();
    const store = await open(directory);
    await store.change(apply(service('orders')));
    let told = 0;
    store.onChange(() => told++);
    rmSync(directory, { recursive: true });
    await assert.rejects(store.change(apply(service('users'))));
    assert.deepEqual([store.version, store.model.all, told], [1, [service('orders')], 0]);
    await store.close();
  });

  test('a disk that does not take a change makes the store unavailable, until it takes one', async () => {
    const directory = fresh();
    const store = await open(directory);
    await store.change(apply(service('orders')));
    // Where a directory stands, nothing can be written.
    mkdirSync(`${fileIn(directory)}.new`);
    await assert.rejects(store.change(apply(service('users'))), (error) => error instanceof StoreUnavailable && /^The change could not be written \(EISDIR\)\.$/.test(error.message));
    assert.deepEqual([store.isWritable, store.version], [false, 1]);
    rmdirSync(`${fileIn(directory)}.new`);
    assert.equal(await store.change(apply(service('users'))), 2);
    assert.equal(store.isWritable, true);
    await store.close();
  });

  test('a second control plane in the same directory overwrites nothing', async () => {
    const directory = fresh();
    const [one, two] = [await open(directory), await open(directory)];
    await one.change(apply(service('orders')));
    await assert.rejects(two.change(apply(service('users'))), /written by another process/);
    await one.change(apply(service('payments')));
    assert.deepEqual(one.model.services.map(({ name }) => name), ['orders', 'payments']);
    await Promise.all([one.close(), two.close()]);
  });

  test('changes that come while the disk is busy are written together', async () => {
    const directory = fresh();
    const store = await open(directory);
    let notified = 0;
    store.onChange(() => notified++);
    await Promise.all(Array.from({ length: 500 }, (_, index) => store.change(apply(service(`s${index}`)))));
    assert.equal(store.version, 500);
    assert.ok(notified < 50, `${notified} writes for 500 changes`);
    await store.close();
    assert.equal((await open(directory)).version, 500);
  });
});
