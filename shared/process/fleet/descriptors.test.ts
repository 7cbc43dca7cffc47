import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { test } from 'node:test';
import { TestAuthority } from '../../../tests/support/certificates.js';
import { httpOrigin } from '../../../tests/support/origin.js';
import { portIn, TestProcess } from '../../../tests/support/process.js';
import { RawClient } from '../../../tests/support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 };
const get = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';
const cannotLimit = spawnSync('prlimit', ['--version']).status === 0 ? false : 'prlimit sets the limits of another process';

/** Sets how many descriptors a process may have, and resolves with how many it had. */
function limitDescriptors(pid: number, limit: string): string {
  const before = execFileSync('prlimit', ['--pid', String(pid), '--nofile', '--noheadings', '--output', 'SOFT']).toString().trim();
  execFileSync('prlimit', ['--pid', String(pid), `--nofile=${limit}:`]);
  return before;
}

test('a worker without a descriptor for a connection is handed others, and that one is closed', { skip: cannotLimit }, async () => {
  const origin = await httpOrigin((_incoming, response) => response.end('hello'));
  const gateway = new TestProcess('gateway/main.js', { listen, admin: listen, workers: 2, routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } } });
  const ready = await gateway.logged('ready');
  const pids = await Promise.all([1, 2].map(async (count) => Number((await gateway.logged('a worker has started', count))['workerPid'])));
  const limits = pids.map((pid) => limitDescriptors(pid, '1'));
  for (let count = 0; count < 6; count++) assert.equal(await (await RawClient.connect(portIn(ready, 'listen'))).untilClosed(), '');
  pids.forEach((pid, index) => limitDescriptors(pid, limits[index]!));
  const clients = await Promise.all(Array.from({ length: 4 }, () => RawClient.connect(portIn(ready, 'listen'))));
  for (const client of clients) await client.send(get).until((text) => text.endsWith('hello'));
  clients.forEach((client) => client.close());
  const warning = await gateway.logged('descriptors run out (ulimit -n): connections are closed');
  assert.deepEqual([warning['listener'], warning['limit']], ['front', 'descriptors']);
  const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
  assert.match(metrics, /^proxy_connections_refused_total\{listener="front",limit="descriptors"\} 6$/m);
  const { code, stderr } = await gateway.stop();
  assert.equal(code, 0);
  // Of six that come at once one line tells.
  assert.equal(stderr.split('descriptors run out').length, 2);
  await origin.close();
});

const isLimited = existsSync('/proc/self/limits') ? false : 'how many descriptors there are is read from /proc';
const places: readonly (readonly [name: string, listener: string, http2?: string])[] = [['listen', 'edge'], ['listen', 'edge', 'engine'], ['listen', 'edge', 'fastify'], ['db', 'db']];

for (const [name, listener, http2] of places) {
  test(`a connection that takes one of the last descriptors is closed, counted and told of (${listener}${http2 === undefined ? '' : `, http2: ${http2}`})`, { skip: isLimited }, async () => {
    const origin = await httpOrigin((_incoming, response) => response.end('hello'));
    const authority = await TestAuthority.create();
    const tls = http2 && { tls: await authority.issue('shop', { dns: ['shop.test'] }) };
    const config = { listen: { ...listen, ...(http2 && { http2 }), ...tls }, admin: listen, tcp: [{ name: 'db', listen, upstream: 'origin', maxConnections: 100 }], routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } } };
    const gateway = new TestProcess('gateway/main.js', config, [], {}, { limit: 64 });
    const ready = await gateway.logged('ready');
    const { descriptors, needed } = await gateway.logged('there are fewer descriptors (ulimit -n) than maxConnections needs: connections are closed before that is reached');
    assert.deepEqual([descriptors, needed], [64, 16_384 + 200]);
    const clients: RawClient[] = [];
    while (!clients.some(({ isClosed }) => isClosed)) clients.push(await RawClient.connect(portIn(ready, name)));
    const warning = await gateway.logged('descriptors run out (ulimit -n): connections are closed');
    assert.deepEqual([warning['listener'], warning['limit'], warning['client']], [listener, 'descriptors', '127.0.0.1']);
    const metrics = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
    assert.match(metrics, new RegExp(`^proxy_connections_refused_total\\{listener="${listener}",limit="descriptors"\\} [1-9]`, 'm'));
    clients.forEach((client) => client.close());
    assert.equal((await gateway.stop()).code, 0);
    authority.remove();
    await origin.close();
  });
}
