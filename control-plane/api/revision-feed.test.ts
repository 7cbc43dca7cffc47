import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../shared/clock/clock.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { EmbeddedStore } from '../sources/embedded-store.js';
import { RevisionFeed } from './revision-feed.js';

test('whether history reaches back far enough is seen from its versions: nothing of before is made for it', async (context) => {
  const store = await EmbeddedStore.open({ directory: undefined, history: { revisions: 5, bytes: 1_000_000 }, clock: systemClock });
  for (let port = 1; port <= 10; port++) await store.change({ put: [{ kind: 'Service', name: 'orders', endpoints: [`127.0.0.1:${port}`] }], by: 'test', action: 'apply' });
  const made = context.mock.method(store, 'at');
  const feed = new RevisionFeed(store, silentLogger);
  const told: number[] = [];
  const watcher = { send: ({ version }: { version: number }) => void told.push(version), lost: () => {} };
  assert.equal(await feed.add(watcher, 4), false);
  assert.equal(await feed.add(watcher, 11), false);
  assert.deepEqual(told, []);
  assert.equal(await feed.add(watcher, 5), true);
  assert.deepEqual(told, [6, 7, 8, 9, 10]);
  assert.equal(made.mock.callCount(), 0);
  feed.close();
});
