import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { systemClock } from '../../shared/clock/clock.js';
import { createLogger } from '../../shared/telemetry/logger.js';
import { TestAuthority } from '../../tests/support/certificates.js';
import { startEtcd, withEtcd } from '../../tests/support/etcd.js';
import { until } from '../../tests/support/until.js';
import { storeSchema, type EtcdStoreConfig } from '../store-config.js';
import { EtcdClient } from './etcd-client.js';
import { EtcdDocument } from './etcd-document.js';
import { EtcdMirror } from './etcd-mirror.js';
import { EtcdSession } from './etcd-session.js';
import { StoreUnavailable } from './store-unavailable.js';

const logger = createLogger({ name: 'test', level: 'silent' });

function connect(context: TestContext, endpoints: readonly string[], more: object = {}): EtcdClient {
  const client = new EtcdClient(storeSchema.parse({ kind: 'etcd', endpoints, prefix: '/mesh', timeout: 2_000, ...more }) as EtcdStoreConfig, systemClock, logger);
  context.after(() => client.close());
  return client;
}

const read = async (client: EtcdClient, key: string): Promise<string | undefined> => (await client.range({ key: Buffer.from(key) })).kvs[0]?.value.toString();
const write = (client: EtcdClient, key: string, value: string): Promise<unknown> => client.txn({ success: [{ request_put: { key: Buffer.from(key), value: Buffer.from(value) } }] });

test('etcd is spoken to by mutual TLS, and by nobody else', withEtcd, async (context) => {
  const [authority, foreign] = [await TestAuthority.create(), await TestAuthority.create()];
  context.after(() => [authority, foreign].forEach((one) => one.remove()));
  const server = await authority.issue('etcd', { dns: ['localhost'], ip: ['127.0.0.1'] });
  const client = await authority.issue('control-plane', { dns: ['control-plane'] });
  const etcd = await startEtcd(context, {
    scheme: 'https',
    args: ['--cert-file', server.cert, '--key-file', server.key, '--trusted-ca-file', authority.ca, '--client-cert-auth'],
    ctl: ['--cacert', authority.ca, '--cert', client.cert, '--key', client.key],
  });
  // By name: see docs/operations/etcd.md.
  const endpoints = etcd.endpoints.map((endpoint) => endpoint.replace('127.0.0.1', 'localhost'));
  const ours = connect(context, endpoints, { tls: { ca: authority.ca, ...client } });
  await write(ours, '/mesh/x', 'secret');
  assert.equal(await read(ours, '/mesh/x'), 'secret');
  const stranger = await foreign.issue('control-plane', { dns: ['control-plane'] });
  for (const [why, tls] of [['no certificate', { ca: authority.ca }], ['a foreign certificate', { ca: authority.ca, ...stranger }], ['an etcd that is not believed', { ca: foreign.ca, ...client }]] as const) {
    await assert.rejects(read(connect(context, endpoints, { tls, timeout: 1_000 }), '/mesh/x'), StoreUnavailable, why);
  }
});

test('with a user and a password; tokens that etcd forgot are renewed, and passwords read anew', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const passwordFile = join(etcd.directory, 'password');
  writeFileSync(passwordFile, 'first\n');
  for (const args of [['user', 'add', 'root:root-password'], ['user', 'grant-role', 'root', 'root'], ['user', 'add', 'mesh:first'], ['role', 'add', 'mesh'], ['role', 'grant-permission', 'mesh', '--prefix=true', 'readwrite', '/mesh/'], ['user', 'grant-role', 'mesh', 'mesh'], ['auth', 'enable']]) await etcd.ctl(args);
  etcd.access = ['--user', 'root:root-password'];
  const client = connect(context, etcd.endpoints, { username: 'mesh', passwordFile });
  await write(client, '/mesh/x', '1');
  await assert.rejects(read(client, '/elsewhere'), StoreUnavailable, 'it may read its prefix alone');
  const seen: string[] = [];
  const mirror = new EtcdMirror({
    client, clock: systemClock, random: Math.random, logger, prefix: '/mesh/',
    replace: (entries) => void seen.push(...entries.map(({ value }) => value.toString())),
    apply: (events) => events.every(({ kv }) => seen.push(kv.value.toString())),
  });
  context.after(() => mirror.close());
  await mirror.ready;
  // Its tokens are in the memory of etcd.
  await etcd.kill();
  etcd.run();
  await etcd.ready();
  await until(() => write(client, '/mesh/x', '2').then(() => true, () => false));
  await until(() => seen.includes('2'));
  const wrong = connect(context, etcd.endpoints, { username: 'mesh', passwordFile: join(etcd.directory, 'wrong') });
  writeFileSync(join(etcd.directory, 'wrong'), 'wrong');
  await assert.rejects(read(wrong, '/mesh/x'), (error) => error instanceof StoreUnavailable && !/wrong/.test(error.message));
  writeFileSync(join(etcd.directory, 'wrong'), 'first');
  assert.equal(await read(wrong, '/mesh/x'), '2');
});

test('a change whose answer is lost is not made twice, and its maker is told that it cannot be known', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const client = connect(context, [...etcd.endpoints, ...etcd.endpoints], { timeout: 400 });
  await write(client, '/mesh/x', '1');
  etcd.freeze(0, true);
  let refusal: unknown;
  let writes = 1;
  while (refusal === undefined) {
    writes++;
    await write(client, '/mesh/x', 'again').catch((error: unknown) => (refusal = error));
  }
  assert.ok(refusal instanceof StoreUnavailable && refusal.isUnsure);
  etcd.freeze(0, false);
  await until(() => read(client, '/mesh/x').then(() => true, () => false));
  const { kvs } = await client.range({ key: Buffer.from('/mesh/x') });
  assert.ok(Number(kvs[0]!.version) <= writes, `${kvs[0]!.version} of ${writes}`);
});

test('a member that is not there is passed over', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const client = connect(context, ['http://127.0.0.1:1', ...etcd.endpoints]);
  await write(client, '/mesh/x', '1');
  assert.equal(await read(client, '/mesh/x'), '1');
  assert.ok(client.isAvailable);
});

test('a member that hangs takes nobody’s watch with it', withEtcd, async (context) => {
  const etcd = await startEtcd(context, { members: 3 });
  const client = connect(context, etcd.endpoints, { timeout: 1_000 });
  const seen: string[] = [];
  const mirror = new EtcdMirror({
    client, clock: systemClock, random: Math.random, logger, prefix: '/mesh/watched/',
    replace: (entries) => void seen.push(...entries.map(({ value }) => value.toString())),
    apply: (events) => events.every(({ kv }) => seen.push(kv.value.toString())),
  });
  // Every control plane has one: its renewals are what notices.
  const session = new EtcdSession({ client, clock: systemClock, ttlMs: 2_000, onLease: async () => {} });
  context.after(() => Promise.all([mirror.close(), session.close()]));
  await mirror.ready;
  etcd.freeze(0, true);
  await etcd.ready(etcd.endpoints.slice(1));
  await until(() => etcd.ctl(['--endpoints', etcd.endpoints[1]!, 'put', '/mesh/watched/x', 'news']).then(() => true, () => false));
  await until(() => seen.includes('news'));
  etcd.freeze(0, false);
});

test('a document is replaced by those who have seen it', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const [a, b] = [1, 2].map(() => new EtcdDocument(connect(context, etcd.endpoints), 'authority'));
  assert.equal(await a!.read(), undefined);
  const created = await Promise.all([a!.replace(undefined, 'by a'), b!.replace(undefined, 'by b')]);
  assert.equal(created.filter(Boolean).length, 1);
  const text = (await b!.read())!;
  const replaced = await Promise.all([a!.replace(text, 'next a'), b!.replace(text, 'next b')]);
  assert.equal(replaced.filter(Boolean).length, 1);
  assert.equal(await a!.replace(text, 'late'), false);
});
