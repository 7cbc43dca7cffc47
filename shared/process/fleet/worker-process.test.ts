import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { WorkerProcess } from './worker-process.js';

test('a worker that cannot be forked has exited, and cannot be created', async () => {
  const { execPath } = process;
  process.execPath = '/nowhere/node';
  const worker = new WorkerProcess(() => []);
  process.execPath = execPath;
  await assert.rejects(worker.create({ config: {}, seat: { index: 0, workers: 1 }, ticketSecret: new Uint8Array() }), /closed/);
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
await worker.create({ config: {}, seat: { index: 0, workers: 1 }, ticketSecret: new Uint8Array() }).catch((error) => console.log(String(error)));
console.log(worker.hasExited);
`;

test('nor can one for which there is no descriptor', { skip: process.platform === 'win32' ? 'descriptors are not limited there' : false }, () => {
  const module = new URL('./worker-process.js', import.meta.url).href;
  const { status, stdout, stderr } = spawnSync('sh', ['-c', 'ulimit -n 64 && exec "$0" --input-type=module -e "$1" "$2"', process.execPath, program, module], { encoding: 'utf8' });
  assert.match(stdout, /closed[^]*\ntrue\n$/, stderr);
  assert.equal(status, 0, stderr);
});
