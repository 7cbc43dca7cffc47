import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { tcpOrigin } from '../tests/support/origin.js';
import type { Contender } from './contender.js';
import { Bench, type Running } from './measure.js';

/** A proxy that closes each connection instead of its third answer. */
const closing = `require('node:net').createServer((socket) => {
  let requests = 0;
  socket.on('data', () => (++requests < 3 ? socket.write('HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok') : socket.end()));
}).listen(Number(process.argv[1]), '127.0.0.1')`;

test('a contender that closes connections with requests unanswered is not measured', async (context) => {
  const contender: Contender = { name: 'closer', log: 'off', isInstalled: true, portCount: 1, hops: 1, launch: ({ ports: [listen] }) => ({ files: {}, processes: [[process.execPath, '-e', closing, String(listen)]] }) };
  const bench = new Bench();
  context.after(() => bench.close());
  const running = await bench.launch(contender, []);
  await assert.rejects(bench.measure(running, 'closed', { seconds: 1, connections: 4 }), /^Error: closer: 4 requests failed/);
});

/** Two workers that take connections in turn, or of which the first alone takes any. */
const workers = `const cluster = require('node:cluster');
const [listen, both] = process.argv.slice(1);
cluster.schedulingPolicy = both === 'true' ? cluster.SCHED_RR : cluster.SCHED_NONE;
if (cluster.isPrimary) [0, 1].forEach((index) => cluster.fork({ index }));
else if (both === 'true' || process.env.index === '0') require('node:net').createServer((socket) => socket.on('data', () => socket.write('HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok'))).listen(Number(listen), '127.0.0.1');`;

for (const both of [true, false]) {
  test(`the share of the lesser worker where ${both ? 'both serve: that of their master does not count' : 'one serves alone'}`, async (context) => {
    const contender: Contender = { name: 'workers', log: 'off', isInstalled: true, portCount: 1, hops: 1, launch: ({ ports: [listen] }) => ({ files: {}, processes: [[process.execPath, '-e', workers, String(listen), String(both)]] }) };
    const bench = new Bench();
    context.after(() => bench.close());
    const running = await bench.launch(contender, []);
    // Both have come up by then.
    await bench.measure(running, 'closed', { seconds: 1, connections: 8 });
    const { leastShare } = await bench.measure(running, 'closed', { seconds: 1, connections: 8 });
    assert.equal(leastShare > 0.2, both, `${leastShare}`);
  });
}

test('each sample goes on in the file of fields where the one before ended', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'measure-test-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const fieldsFile = join(directory, 'fields.txt');
  writeFileSync(fieldsFile, Array.from({ length: 10 }, (_, index) => `X: ${index}`).join('\n'));
  let sent = '';
  const origin = await tcpOrigin((socket) => {
    socket.on('data', (data) => {
      sent += /\r\nX: (\d)\r\n\r\n$/.exec(data.toString())![1]!;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    });
  });
  const bench = new Bench();
  context.after(() => {
    bench.close();
    return origin.close();
  });
  const running: Running = { contender: { name: 'origin', log: 'off', isInstalled: true, portCount: 0, hops: 1, launch: () => ({ files: {}, processes: [] }) }, port: origin.port, pids: [] };
  for (let sample = 0; sample < 2; sample++) await bench.measure(running, 'open', { seconds: 0.3, connections: 1, rate: 50, fieldsFile });
  assert.equal(sent, '0123456789'.repeat(3));
});
