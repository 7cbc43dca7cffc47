import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpOrigin } from '../../../tests/support/origin.js';
import { portIn, TestProcess } from '../../../tests/support/process.js';
import { RawClient } from '../../../tests/support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 };
const get = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';

// In a file of its own, which waits for half a minute beside the others.
test('a worker that stands still is ended and replaced, and the other serves meanwhile', { skip: process.platform === 'win32' ? 'no process can be stopped there' : false }, async () => {
  const origin = await httpOrigin((_incoming, response) => response.end('hello'));
  const gateway = new TestProcess('gateway/main.js', { listen, admin: listen, workers: 2, routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } } });
  const ready = await gateway.logged('ready');
  const { workerPid: pid } = await gateway.logged('a worker has started');
  process.kill(Number(pid), 'SIGSTOP');
  // The one that it got, if it is its turn; every other goes to who takes it.
  const lost = await RawClient.connect(portIn(ready, 'listen'));
  const served = await Promise.all(Array.from({ length: 5 }, () => RawClient.connect(portIn(ready, 'listen'))));
  lost.send(get);
  const answers = served.map((client) => client.send(get).until((text) => text.endsWith('hello')).catch(() => 'closed'));
  assert.equal((await gateway.logged('a worker does not answer; it is ended'))['workerPid'], pid);
  assert.equal((await gateway.logged('a worker has exited; another takes its place'))['signal'], 'SIGKILL');
  await gateway.logged('a worker has started', 3);
  assert.ok((await Promise.all(answers)).filter((answer) => answer.endsWith('hello')).length >= 4);
  const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
  assert.match(metrics, /^proxy_worker_exits_total 1$/m);
  assert.equal((await gateway.stop()).code, 0);
  await origin.close();
});
