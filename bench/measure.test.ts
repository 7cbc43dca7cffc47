import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Contender } from './contender.js';
import { Bench } from './measure.js';

/** A proxy that closes each connection instead of its hundredth answer. */
const closing = `require('node:net').createServer((socket) => {
  let requests = 0;
  socket.on('data', () => (++requests < 100 ? socket.write('HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok') : socket.end()));
}).listen(Number(process.argv[1]), '127.0.0.1')`;

test('a contender that closes connections with requests unanswered is not measured', async (context) => {
  const contender: Contender = { name: 'closer', log: 'off', isInstalled: true, portCount: 1, hops: 1, launch: ({ ports: [listen] }) => ({ files: {}, processes: [[process.execPath, '-e', closing, String(listen)]] }) };
  const bench = new Bench();
  context.after(() => bench.close());
  const running = await bench.launch(contender, []);
  await assert.rejects(bench.measure(running, 'closed', { seconds: 1, connections: 4 }), /^Error: closer: 4 requests failed/);
});

/** Two workers, of which the first alone takes connections. */
const lopsided = `const cluster = require('node:cluster');
cluster.schedulingPolicy = cluster.SCHED_NONE;
if (cluster.isPrimary) [0, 1].forEach((index) => cluster.fork({ index }));
else if (process.env.index === '0') require('node:net').createServer((socket) => socket.on('data', () => socket.write('HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok'))).listen(Number(process.argv[1]), '127.0.0.1');`;

test('the share of the lesser worker is that of the processes that serve', async (context) => {
  const contender: Contender = { name: 'lopsided', log: 'off', isInstalled: true, portCount: 1, hops: 1, launch: ({ ports: [listen] }) => ({ files: {}, processes: [[process.execPath, '-e', lopsided, String(listen)]] }) };
  const bench = new Bench();
  context.after(() => bench.close());
  const running = await bench.launch(contender, []);
  // The idle one has come up by then.
  await bench.measure(running, 'closed', { seconds: 1, connections: 4 });
  const { leastShare } = await bench.measure(running, 'closed', { seconds: 1, connections: 4 });
  assert.ok(leastShare < 0.2, `${leastShare}`);
});
