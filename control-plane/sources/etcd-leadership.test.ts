import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { systemClock, type Clock } from '../../shared/clock/clock.js';
import { createLogger } from '../../shared/telemetry/logger.js';
import { startEtcd, withEtcd } from '../../tests/support/etcd.js';
import { until } from '../../tests/support/until.js';
import { storeSchema, type EtcdStoreConfig } from '../store-config.js';
import { EtcdClient } from './etcd-client.js';
import { EtcdLeadership } from './etcd-leadership.js';
import { AlwaysLeader } from './leadership.js';

const logger = createLogger({ name: 'test', level: 'silent' });
const ttlMs = 2_000;

interface Candidate {
  readonly leadership: EtcdLeadership;
  readonly client: EtcdClient;
}

function candidate(context: TestContext, endpoints: readonly string[], name: string, clock: Clock = systemClock): Candidate {
  const client = new EtcdClient(storeSchema.parse({ kind: 'etcd', endpoints, prefix: '/mesh', timeout: 1_000 }) as EtcdStoreConfig, systemClock, logger);
  const leadership = new EtcdLeadership({ client, clock, random: Math.random, logger, id: name, url: `http://${name}:9400`, ttlMs });
  context.after(async () => {
    client.close();
    await leadership.close();
  });
  return { leadership, client };
}

/** Watches for two leaders at a time until `holds`. */
function watch(all: readonly Candidate[], holds: () => boolean): Promise<void> {
  return until(() => {
    assert.ok(all.filter(({ leadership }) => leadership.isLeader).length <= 1, 'two leaders');
    return holds();
  });
}

test('one of several leads, all know its address, and when it resigns another leads at once', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const all = ['a', 'b', 'c'].map((name) => candidate(context, etcd.endpoints, name));
  const leaders = (): Candidate[] => all.filter(({ leadership }) => leadership.isLeader);
  await watch(all, () => leaders().length === 1 && all.every(({ leadership }) => leadership.leader !== undefined));
  const [first] = leaders();
  const names = new Set(all.map(({ leadership }) => leadership.leader));
  assert.equal(names.size, 1);
  const [before] = names;
  const told: boolean[] = [];
  const others = all.filter((one) => one !== first);
  for (const { leadership } of others) leadership.onChange(() => told.push(leadership.isLeader));
  const resignedAt = performance.now();
  await first!.leadership.close();
  await watch(all, () => leaders().length === 1 && leaders()[0] !== first);
  assert.ok(performance.now() - resignedAt < ttlMs, 'it does not wait for the lease');
  assert.ok(told.includes(true));
  await watch(all, () => others.every(({ leadership }) => leadership.leader !== before));
});

test('when the leader vanishes another leads within the lease, and never both', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const a = candidate(context, etcd.endpoints, 'a');
  await watch([a], () => a.leadership.isLeader);
  const b = candidate(context, etcd.endpoints, 'b');
  await watch([a, b], () => b.leadership.leader === 'http://a:9400');
  // It is cut off from etcd, and does not know why.
  a.client.close();
  const cutAt = performance.now();
  await watch([a, b], () => b.leadership.isLeader);
  // The lease, and what etcd takes to see that it has ended; on a busy machine it may take longer.
  assert.ok(performance.now() - cutAt < ttlMs + 8_000);
  assert.equal(a.leadership.isLeader, false);
});

test('a leader whose time stood still knows at once that its time is over', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  let skipped = 0;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + skipped };
  const a = candidate(context, etcd.endpoints, 'a', clock);
  await watch([a], () => a.leadership.isLeader);
  // As after SIGCONT: no timer has run yet.
  skipped = ttlMs;
  assert.equal(a.leadership.isLeader, false);
  await watch([a], () => a.leadership.isLeader);
});

test('while etcd is away nobody leads, and when it is back somebody does', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const all = ['a', 'b'].map((name) => candidate(context, etcd.endpoints, name));
  const leaders = (): Candidate[] => all.filter(({ leadership }) => leadership.isLeader);
  await watch(all, () => leaders().length === 1);
  const told: boolean[] = [];
  const [first] = leaders();
  first!.leadership.onChange(() => told.push(first!.leadership.isLeader));
  await etcd.kill();
  await watch(all, () => leaders().length === 0 && told.includes(false));
  etcd.run();
  await watch(all, () => leaders().length === 1);
});

test('the only control plane always leads', async () => {
  const alone = new AlwaysLeader();
  assert.deepEqual([alone.isLeader, alone.leader], [true, undefined]);
  alone.onChange()();
  await alone.close();
});
