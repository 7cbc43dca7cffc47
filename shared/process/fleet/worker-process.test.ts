import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import cluster from 'node:cluster';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { RawClient } from '../../../tests/support/raw-client.js';
import { WorkerProcess } from './worker-process.js';

test('a worker that cannot be forked has exited, and cannot be created', async () => {
  const { execPath } = process;
  process.execPath = '/nowhere/node';
  const worker = new WorkerProcess(() => []);
  process.execPath = execPath;
  await assert.rejects(worker.create({ config: {}, seat: { index: 0, workers: 1 }, ticketSecret: new Uint8Array(), lastKnown: [] }), /closed/);
  assert.ok(worker.hasExited);
  await worker.kill();
});

/** Takes all descriptors that there are, then forks. */
const program = `
import { openSync } from 'node:fs';
const { WorkerProcess } = await import(process.argv[1]);
try {
  for (;;) openSync('/dev/null');
} catch {}
const worker = new WorkerProcess(() => []);
await worker.create({ config: {}, seat: { index: 0, workers: 1 }, ticketSecret: new Uint8Array(), lastKnown: [] }).catch((error) => console.log(String(error)));
console.log(worker.hasExited);
`;

test('nor can one for which there is no descriptor', { skip: process.platform === 'win32' ? 'descriptors are not limited there' : false }, () => {
  const module = new URL('./worker-process.js', import.meta.url).href;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', 'ulimit -n 64 && exec "$0" --input-type=module -e "$1" "$2"', process.execPath, program, module], { encoding: 'utf8' });
  assert.match(stdout, /closed[^]*\ntrue\n$/, stderr);
  assert.equal(status, 0, stderr);
});

/** Listens, and answers what it is asked, but not for the connections that it is handed: such an answer has not been seen to be lost. */
const silentProgram = `
import { createServer } from 'node:net';
import { createBirpc } from '${import.meta.resolve('birpc')}';
const send = process.send.bind(process);
process.send = (word, ...rest) => word.accepted === undefined && send(word, ...rest);
const front = createBirpc({ ping: () => {} }, { post: (word) => process.send(word), on: (receive) => process.on('message', receive) });
createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1', () => front.hello.asEvent());
`;

test('one that has not answered for a connection has not answered', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'worker-process-'));
  const exec = join(directory, 'worker.mjs');
  writeFileSync(exec, silentProgram);
  cluster.schedulingPolicy = cluster.SCHED_RR;
  cluster.setupPrimary({ exec, args: [], serialization: 'advanced' });
  const listening = once(cluster, 'listening');
  const worker = new WorkerProcess(() => []);
  const [, { port }] = (await listening) as [unknown, { port: number }];
  await worker.ping();
  const client = await RawClient.connect(port);
  await client.until((text) => text === 'hello');
  await assert.rejects(worker.ping(), /has not answered for a connection/);
  await worker.kill();
  client.close();
  rmSync(directory, { recursive: true });
});
