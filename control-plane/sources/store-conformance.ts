import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { systemClock } from '../../shared/clock/clock.js';
import { ConfigError } from '../../shared/config/load.js';
import type { Resource } from '../model/resources.js';
import { Conflict, type Change, type Store } from './store.js';

const service = (name: string, ...endpoints: string[]): Resource => ({ kind: 'Service', name, ...(endpoints.length > 0 && { endpoints }) });
const route = (name: string, to: string): Resource => ({ kind: 'Route', name, service: to });
const put = (...resources: Resource[]): Change => ({ put: resources, by: 'test', action: 'apply' });
const remove = (kind: Resource['kind'], name: string): Change => ({ remove: [{ kind, name }], by: 'test', action: 'delete' });

const isConflict = (kind: string | undefined, resource: string, expected: number, actual: number) => (error: unknown) => {
  assert.ok(error instanceof Conflict, String(error));
  assert.deepEqual([error.kind, error.resource, error.expected, error.actual], [kind, resource, expected, actual]);
  return true;
};

/** What every store does. `openStore` gives an empty one, each time another. */
export function storeConformance(name: string, openStore: () => Promise<Store>): void {
  const fact = (sentence: string, body: (store: Store) => Promise<void>): void => {
    test(sentence, async () => {
      const store = await openStore();
      try {
        await body(store);
      } finally {
        await store.close();
      }
    });
  };

  describe(`${name} as a store`, () => {
    fact('begins empty, at version 0', async (store) => {
      assert.deepEqual([store.version, store.model.all, await store.history(10)], [0, [], []]);
      assert.equal(store.versionOf('Service', 'orders'), undefined);
    });

    fact('a change raises the version of the whole and of what it touches, and of nothing else', async (store) => {
      const first = await store.change(put(service('orders'), service('users')));
      const second = await store.change(put(service('orders', '127.0.0.1:1')));
      assert.ok(first > 0 && second > first);
      assert.equal(store.version, second);
      assert.deepEqual([store.versionOf('Service', 'orders'), store.versionOf('Service', 'users')], [second, first]);
      assert.deepEqual(store.model.get('Service', 'orders'), service('orders', '127.0.0.1:1'));
    });

    fact('a change that changes nothing makes no version', async (store) => {
      const version = await store.change(put({ kind: 'Route', name: 'all', service: 'orders', match: { path: '/', method: 'GET' } }, service('orders')));
      assert.equal(await store.change(put({ match: { method: 'GET', path: '/' }, service: 'orders', name: 'all', kind: 'Route' })), version);
      assert.equal(await store.change(remove('Policy', 'nothing')), version);
      assert.deepEqual([store.version, (await store.history(10)).length], [version, 1]);
    });

    fact('all of a change happens or nothing, and every problem is named', async (store) => {
      await assert.rejects(store.change(put(service('orders'), route('one', 'nowhere'), route('two', 'nowhere'))), (error) => {
        assert.ok(error instanceof ConfigError);
        assert.deepEqual(error.problems.map(({ path }) => path), ['Route/one.service', 'Route/two.service']);
        return true;
      });
      assert.deepEqual([store.version, store.model.all], [0, []]);
    });

    fact('what others refer to is not removed, but with them it is', async (store) => {
      const version = await store.change(put(service('orders'), route('all', 'orders')));
      await assert.rejects(store.change(remove('Service', 'orders')), ConfigError);
      assert.equal(store.version, version);
      await store.change({ remove: [{ kind: 'Service', name: 'orders' }, { kind: 'Route', name: 'all' }], by: 'test', action: 'delete' });
      assert.deepEqual(store.model.all, []);
      assert.equal(store.versionOf('Service', 'orders'), undefined);
    });

    fact('of two who expect the same version one gets it, and the other a conflict', async (store) => {
      const version = await store.change(put(service('orders')));
      const expected = [{ kind: 'Service' as const, name: 'orders', version }];
      const outcomes = await Promise.allSettled(['127.0.0.1:1', '127.0.0.1:2'].map((address) => store.change({ ...put(service('orders', address)), expected })));
      assert.deepEqual(outcomes.map(({ status }) => status).sort(), ['fulfilled', 'rejected']);
      const [failed] = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [outcome.reason as unknown] : []));
      isConflict('Service', 'orders', version, store.versionOf('Service', 'orders')!)(failed);
    });

    fact('expecting 0 is expecting that there is none', async (store) => {
      const create = { ...put(service('orders')), expected: [{ kind: 'Service' as const, name: 'orders', version: 0 }] };
      const version = await store.change(create);
      await assert.rejects(store.change(create), isConflict('Service', 'orders', 0, version));
      await assert.rejects(store.change({ ...put(service('new')), expected: [{ kind: 'Service', name: 'new', version: 7 }] }), isConflict('Service', 'new', 7, 0));
    });

    fact('the version of the whole can be expected', async (store) => {
      const version = await store.change(put(service('orders')));
      const next = await store.change({ ...put(service('users')), expectedVersion: version });
      await assert.rejects(store.change({ ...put(service('payments')), expectedVersion: version }), isConflict(undefined, '', version, next));
      await assert.rejects(store.dryRun({ ...put(service('payments')), expectedVersion: version }), Conflict);
    });

    fact('a dry run says what would be changed, rejects as the change would, and changes nothing', async (store) => {
      const version = await store.change(put(service('orders'), service('users')));
      const changes = await store.dryRun({ put: [service('orders', '127.0.0.1:1'), service('new')], remove: [{ kind: 'Service', name: 'users' }], by: 'test', action: 'apply' });
      assert.deepEqual([...changes].map(({ name, before, after }) => [name, before !== undefined, after !== undefined]).sort(), [['new', false, true], ['orders', true, true], ['users', true, false]]);
      await assert.rejects(store.dryRun(put(route('all', 'nowhere'))), ConfigError);
      await assert.rejects(store.dryRun({ ...put(service('orders')), expected: [{ kind: 'Service', name: 'orders', version: version + 1 }] }), Conflict);
      assert.deepEqual([store.version, store.model.services.length, (await store.history(10)).length], [version, 2, 1]);
    });

    fact('history says what was changed, by whom and when, newest first', async (store) => {
      const before = systemClock.wallNow() - 1_000;
      await store.change({ put: [service('orders')], by: 'alice', action: 'apply' });
      await store.change({ put: [service('orders', '127.0.0.1:1')], by: 'bob', action: 'apply' });
      await store.change({ remove: [{ kind: 'Service', name: 'orders' }], by: 'carol', action: 'delete' });
      const history = await store.history(10);
      assert.deepEqual(history.map(({ by, action }) => [by, action]), [['carol', 'delete'], ['bob', 'apply'], ['alice', 'apply']]);
      assert.deepEqual(history[1]!.changes.map(({ kind, name, before: was, after }) => [kind, name, was, after]), [['Service', 'orders', service('orders'), service('orders', '127.0.0.1:1')]]);
      assert.deepEqual([history[2]!.changes[0]!.before, history[0]!.changes[0]!.after], [undefined, undefined]);
      for (const { at } of history) assert.ok(Date.parse(at) >= before && /Z$/.test(at), at);
      assert.deepEqual((await store.history(1)).map(({ by }) => by), ['carol']);
    });

    fact('what was there at a version can be had again', async (store) => {
      const first = await store.change(put(service('orders'), route('all', 'orders')));
      const second = await store.change(remove('Route', 'all'));
      const third = await store.change(put(service('orders', '127.0.0.1:1'), service('users')));
      assert.deepEqual((await store.at(first))!.all, [route('all', 'orders'), service('orders')]);
      assert.deepEqual((await store.at(second))!.all, [service('orders')]);
      assert.deepEqual((await store.at(third))!.all, store.model.all);
      assert.equal(await store.at(third + 1), undefined);
    });

    fact('whoever listens is told when the change is there to be read, until it no longer listens', async (store) => {
      const seen: number[] = [];
      const stop = store.onChange(() => seen.push(store.version));
      const version = await store.change(put(service('orders')));
      assert.equal(seen.at(-1), version);
      await assert.rejects(store.change(put(route('all', 'nowhere'))));
      await store.dryRun(put(service('users')));
      stop();
      await store.change(put(service('users')));
      assert.equal(seen.at(-1), version);
    });

    fact('concurrent changes are made one after the other: none is lost, and each has a version of its own', async (store) => {
      const names = Array.from({ length: 40 }, (_, index) => `s${index}`);
      const versions = await Promise.all(names.map((each) => store.change(put(service(each)))));
      assert.equal(new Set(versions).size, names.length);
      assert.equal(store.version, Math.max(...versions));
      assert.deepEqual(store.model.services.map((each) => each.name).sort(), [...names].sort());
      names.forEach((each, index) => assert.equal(store.versionOf('Service', each), versions[index]));
      assert.deepEqual((await store.history(100)).map(({ version }) => version), [...versions].sort((a, b) => b - a));
    });

    fact('one that fails among concurrent changes fails alone', async (store) => {
      const outcomes = await Promise.allSettled([store.change(put(service('a'))), store.change(put(route('r', 'nowhere'))), store.change(put(service('b')))]);
      assert.deepEqual(outcomes.map(({ status }) => status), ['fulfilled', 'rejected', 'fulfilled']);
      assert.deepEqual(store.model.services.map((each) => each.name), ['a', 'b']);
    });

    fact('what was handed in may be changed by its owner afterwards', async (store) => {
      const mine = service('orders', '127.0.0.1:1') as { endpoints: string[] } & Resource;
      await store.change(put(mine));
      mine.endpoints.push('127.0.0.1:2');
      assert.deepEqual(store.model.get('Service', 'orders'), service('orders', '127.0.0.1:1'));
    });
  });
}
