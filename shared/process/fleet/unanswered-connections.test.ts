import assert from 'node:assert/strict';
import cluster from 'node:cluster';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { closeUnanswered } from './unanswered-connections.js';
import { RawClient } from '../../../tests/support/raw-client.js';

/** Listens on two ports. Told to, it stands still; it closes its channel (3) when the file is there, and does not exit. */
const program = `
const { closeSync, existsSync } = require('node:fs');
const { createServer } = require('node:net');
const wait = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
const servers = [0, 1].map(() => createServer((socket) => socket.end('hello')).listen(0, '127.0.0.1', () => {
  if (servers.every(({ listening }) => listening)) process.send(servers.map((server) => server.address().port));
}));
process.once('message', (file) => {
  while (!existsSync(file)) wait();
  closeSync(3);
  for (;;) wait();
});
`;

test('a worker whose channel has ended is handed nothing more, though it has not exited', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'unanswered-'));
  const [exec, file] = [join(directory, 'worker.cjs'), join(directory, 'end')];
  writeFileSync(exec, program);
  cluster.schedulingPolicy = cluster.SCHED_RR;
  cluster.setupPrimary({ exec, args: [] });
  const worker = cluster.fork();
  const channel = worker.process;
  const send = channel.send.bind(channel) as (...words: unknown[]) => boolean;
  const handed = new Promise<void>((resolve) => {
    channel.send = (...words: unknown[]) => {
      if (words[1] !== undefined) resolve();
      return send(...words);
    };
  });
  closeUnanswered(worker);
  const [[one, other]] = (await once(worker, 'message')) as [[number, number]];
  worker.send(file);
  const client = await RawClient.connect(one);
  await handed;
  writeFileSync(file, '');
  while (worker.isConnected()) await new Promise((resolve) => setImmediate(resolve));
  await assert.rejects(RawClient.connect(other), { code: 'ECONNREFUSED' });
  assert.equal(client.isClosed, false);
  channel.kill('SIGKILL');
  assert.equal(await client.untilClosed(), '');
  rmSync(directory, { recursive: true });
});
