import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock, type Clock } from '../../shared/clock/clock.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { createLogger } from '../../shared/telemetry/logger.js';
import { startEtcd, withEtcd } from '../../tests/support/etcd.js';
import { storeSchema, type EtcdStoreConfig } from '../store-config.js';
import { EtcdClient } from './etcd-client.js';
import { EtcdOnceOnly } from './etcd-once-only.js';
import { digestOf, FileOnceOnly, MemoryOnceOnly, type OnceOnly } from './once-only.js';
import { StoreUnavailable } from './store-unavailable.js';

const directory = mkdtempSync(join(tmpdir(), 'once-only-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const logger = createLogger({ name: 'test', level: 'silent' });
const soon = (): number => Date.now() + 60_000;

function etcdClient(context: TestContext, endpoints: readonly string[]): EtcdClient {
  const client = new EtcdClient(storeSchema.parse({ kind: 'etcd', endpoints, prefix: '/mesh', timeout: 2_000 }) as EtcdStoreConfig, systemClock, logger);
  context.after(() => client.close());
  return client;
}

async function isUsedOnce(once: OnceOnly): Promise<void> {
  const outcomes = await Promise.all(Array.from({ length: 20 }, () => once.use('token', soon())));
  assert.equal(outcomes.filter(Boolean).length, 1);
  assert.equal(await once.use('token', soon()), false);
  assert.equal(await once.use('another', soon()), true);
  assert.equal(await once.use('expired', Date.now() - 1), false);
}

describe('what is good once', () => {
  test('in memory: is used by one of many, and what has expired by nobody', () => isUsedOnce(new MemoryOnceOnly(systemClock)));

  test('in a file: is used by one of many, also after a restart, and the file does not say what', async () => {
    const where = join(directory, 'restart');
    const first = await FileOnceOnly.open(where, systemClock);
    await isUsedOnce(first);
    await first.close();
    const second = await FileOnceOnly.open(where, systemClock);
    assert.equal(await second.use('token', soon()), false);
    await second.close();
    const file = join(where, 'used.log');
    assert.doesNotMatch(readFileSync(file, 'utf8'), /token|another/);
    assert.equal(statSync(file).mode & 0o777, 0o600);
  });

  test('in a file: half a line, as a crash leaves it, is no line, and swallows none', async () => {
    const where = join(directory, 'torn');
    const first = await FileOnceOnly.open(where, systemClock);
    await first.use('one', soon());
    await first.close();
    appendFileSync(join(where, 'used.log'), 'dG9ybi1kaWdlc3Q');
    const second = await FileOnceOnly.open(where, systemClock);
    assert.equal(await second.use('two', soon()), true);
    await second.close();
    const third = await FileOnceOnly.open(where, systemClock);
    assert.deepEqual([await third.use('one', soon()), await third.use('two', soon())], [false, false]);
    await third.close();
  });

  test('is bounded: what has expired makes room, and beyond the limit nothing is accepted', async () => {
    const clock = new FakeClock();
    const where = join(directory, 'bounded');
    const file = await FileOnceOnly.open(where, clock, { limit: 3 });
    const end = clock.wallNow() + 1_000;
    for (const id of ['a', 'b', 'c']) assert.equal(await file.use(id, end), true);
    await assert.rejects(file.use('d', end), (error) => error instanceof StoreUnavailable && /3 used tokens are remembered/.test(error.message));
    assert.equal(await file.use('a', end), false);
    await clock.advance(1_001);
    assert.equal(await file.use('d', clock.wallNow() + 1_000), true);
    await file.close();
  });

  test('in a file: stays used when the wall clock was ahead for a while, at a start or in between', async () => {
    const hour = 3_600_000;
    const fake = new FakeClock();
    let ahead = 0;
    const clock: Clock = { now: () => fake.now(), wallNow: () => fake.wallNow() + ahead, after: (ms, callback) => fake.after(ms, callback) };
    const where = join(directory, 'ahead');
    const end = fake.wallNow() + hour;
    let file = await FileOnceOnly.open(where, clock);
    assert.equal(await file.use('token', end), true);
    for (const hours of [48, 0]) {
      await file.close();
      ahead = hours * hour;
      file = await FileOnceOnly.open(where, clock);
    }
    assert.equal(await file.use('token', end), false);
    ahead = 48 * hour;
    for (let index = 0; index < 2_100; index++) await file.use(`id-${index}`, fake.wallNow() + 49 * hour);
    ahead = 0;
    assert.equal(await file.use('token', end), false);
    // Both clocks say that it is good for nothing any more.
    await fake.advance(1.5 * hour);
    await file.close();
    file = await FileOnceOnly.open(where, clock);
    await fake.advance(1.5 * hour);
    for (let index = 0; index < 4_000; index++) await file.use(`later-${index}`, fake.wallNow() + hour);
    assert.doesNotMatch(readFileSync(join(where, 'used.log'), 'utf8'), new RegExp(digestOf('token')));
    await file.close();
  });

  test('in a file: an id that the disk did not take is still good, once', async () => {
    const where = join(directory, 'refused');
    const file = await FileOnceOnly.open(where, systemClock);
    await file.use('one', soon());
    await file.close();
    // Without its directory, the file cannot be written anew.
    renameSync(where, `${where}-away`);
    await assert.rejects(file.use('two', soon()), (error) => error instanceof StoreUnavailable && /ENOENT/.test(error.message));
    renameSync(`${where}-away`, where);
    assert.deepEqual([await file.use('two', soon()), await file.use('two', soon()), await file.use('one', soon())], [true, false, false]);
    await file.close();
    const again = await FileOnceOnly.open(where, systemClock);
    assert.equal(await again.use('two', soon()), false);
    await again.close();
  });

  test('in a file: the file is written anew when most of it has expired', async () => {
    const clock = new FakeClock();
    const where = join(directory, 'compacted');
    const file = await FileOnceOnly.open(where, clock, { longestLifeMs: 10 });
    for (let index = 0; index < 1_200; index++) {
      await file.use(`id-${index}`, clock.wallNow() + 10);
      if (index % 100 === 99) await clock.advance(20);
    }
    assert.ok(readFileSync(join(where, 'used.log'), 'utf8').split('\n').length < 1_100);
    await file.close();
  });

  test('in a file: what was acknowledged before a kill -9 is never usable again', async () => {
    const where = join(directory, 'killed');
    const writer = fileURLToPath(new URL('../../tests/support/once-only-writer.js', import.meta.url));
    for (let round = 0; round < 10; round++) {
      const child = spawn(process.execPath, [writer, where, String(round)], { stdio: ['ignore', 'pipe', 'inherit'] });
      let acknowledged = '';
      const enough = new Promise<void>((resolve) => {
        child.stdout.on('data', (data: Buffer) => {
          acknowledged += data.toString();
          if (acknowledged.split('\n').length > 5 + 7 * round) resolve();
        });
      });
      await enough;
      child.kill('SIGKILL');
      await once(child, 'close');
      const file = await FileOnceOnly.open(where, systemClock);
      const ids = acknowledged.split('\n').slice(0, -1);
      assert.ok(ids.length > 0);
      for (const id of ids) assert.equal(await file.use(id, soon()), false, id);
      await file.close();
    }
  });
});

describe('what is good once, in etcd', withEtcd, () => {
  test('is used by one of many at several control planes, and etcd forgets it by itself', async (context) => {
    const etcd = await startEtcd(context);
    const [a, b] = [1, 2].map(() => new EtcdOnceOnly(etcdClient(context, etcd.endpoints), systemClock));
    await isUsedOnce(a!);
    assert.equal(await b!.use('token', soon()), false);
    const outcomes = await Promise.all([a, b, a, b].map((one) => one!.use('both', soon())));
    assert.equal(outcomes.filter(Boolean).length, 1);
    const keys = await etcd.ctl(['get', '--prefix', '/mesh/used/', '-w', 'json']);
    assert.doesNotMatch(keys, new RegExp(Buffer.from('token').toString('base64').slice(0, 6)));
    const { kvs } = JSON.parse(keys) as { kvs: { lease?: number }[] };
    assert.equal(kvs.length, 3);
    for (const { lease } of kvs) assert.ok(lease !== undefined && lease !== 0, 'on a lease');
    // Those who lost leave no leases behind.
    const leases = (await etcd.ctl(['lease', 'list'])).trim().split('\n').length - 1;
    assert.equal(leases, 3);
  });

  test('is not accepted while etcd is away', async (context) => {
    const etcd = await startEtcd(context);
    const once = new EtcdOnceOnly(etcdClient(context, etcd.endpoints), systemClock);
    assert.equal(await once.use('before', soon()), true);
    await etcd.kill();
    await assert.rejects(once.use('meanwhile', soon()), StoreUnavailable);
    etcd.run();
    await etcd.ready();
    assert.deepEqual([await once.use('before', soon()), await once.use('meanwhile', soon())], [false, true]);
  });
});
