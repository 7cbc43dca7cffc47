import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WorkerProcess } from './worker-process.js';

test('a worker that cannot be forked has exited, and cannot be created', async () => {
  const { execPath } = process;
  process.execPath = '/nowhere/node';
  const worker = new WorkerProcess(() => []);
  process.execPath = execPath;
  await assert.rejects(worker.create({ config: {}, workers: 1, ticketSecret: new Uint8Array() }), /closed/);
  assert.ok(worker.hasExited);
  await worker.kill();
});
