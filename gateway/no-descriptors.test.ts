import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { Agent, get } from 'node:http';
import { test } from 'node:test';
import { httpOrigin, readBody } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';
import { until } from '../tests/support/until.js';

const listen = { host: '127.0.0.1', port: 0 };
const canLimit = spawnSync('prlimit', ['--version']).status === 0;

/** Asks on one connection, which it keeps. */
function oneConnection(port: number): { ask(path: string): Promise<string>; close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const ask = (path: string): Promise<string> =>
    new Promise((resolve, reject) => {
      get({ port, host: '127.0.0.1', path, agent }, async (response) => resolve(`${response.statusCode} ${await readBody(response)}`)).on('error', reject);
    });
  return { ask, close: () => agent.destroy() };
}

for (const [protocol, host] of [['h1', '127.0.0.1'], ['h1', 'localhost'], ['h2', '127.0.0.1'], ['auto', '127.0.0.1']] as const) {
  test(`a gateway without a free descriptor blames no endpoint for it, and goes on when there is one: ${protocol} to ${host}`, { skip: canLimit ? false : 'there is no prlimit' }, async () => {
    const origin = await httpOrigin((_request, response) => response.end('well'));
    const gateway = new TestProcess('gateway/main.js', {
      listen,
      admin: listen,
      routes: [{ match: { path: '/orders' }, upstream: 'orders' }],
      upstreams: {
        orders: {
          endpoints: [`${host}:${origin.port}`],
          protocol,
          connectTimeout: '10s',
          breaker: { volumeThreshold: 1, resetTimeout: '1h' },
          outlierDetection: { consecutiveErrors: 1, maxEjectedPercent: 100 },
          healthCheck: { interval: '50ms', unhealthyThreshold: 1, healthyThreshold: 100 },
        },
      },
    });
    const ready = await gateway.logged('ready');
    const limit = (soft: number): unknown => execFileSync('prlimit', ['--pid', String(gateway.child.pid), `--nofile=${soft}:`]);
    const [client, admin] = [oneConnection(portIn(ready, 'listen')), oneConnection(portIn(ready, 'admin'))];
    const metrics = (): Promise<string> => admin.ask('/metrics');
    await metrics();
    assert.match(await client.ask('/elsewhere'), /^404 /);
    // Both are accepted: whatever is opened from now on has no descriptor.
    limit(1);
    await until(async () => /proxy_health_checks_total\{[^}]*result="resources"\} [1-9]/.test(await metrics()));
    assert.match(await client.ask('/orders'), /^503 .*"code":"resources_exhausted"/);
    const [, line] = await gateway.accessLog(2);
    assert.equal(line!['flags'], 'OM');
    assert.match(String(line!['reason']), host === 'localhost' ? /^getaddrinfo \w+ localhost$/ : /^connect EMFILE 127\.0\.0\.1:/);
    limit(1_024);
    if (protocol !== 'h2') assert.match(await client.ask('/orders'), /^200 well$/);
    assert.deepEqual((await metrics()).split('\n').filter((series) => /proxy_outlier_ejections_total\{|result="connect"|state="open"/.test(series)), []);
    client.close();
    admin.close();
    assert.equal((await gateway.stop()).code, 0);
    await origin.close();
  });
}
