import assert from 'node:assert/strict';
import type { ServerResponse } from 'node:http';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { httpOrigin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';

const listen = { host: '127.0.0.1', port: 0 };
const attemptTimeoutMs = 500;

test('a proxy that stood still for longer than attempts may take gives the answers that came meanwhile, and blames no endpoint', async () => {
  let arrived!: (response: ServerResponse) => void;
  const held = new Promise<ServerResponse>((resolve) => (arrived = resolve));
  const origin = await httpOrigin((request, response) => {
    if (request.url === '/held') arrived(response);
    else response.end('well');
  });
  const gateway = new TestProcess('gateway/main.js', {
    listen,
    routes: [{ upstream: 'orders' }],
    upstreams: { orders: { endpoints: [`127.0.0.1:${origin.port}`], attemptTimeout: `${attemptTimeoutMs}ms`, breaker: { volumeThreshold: 1 }, outlierDetection: { consecutiveErrors: 1 } } },
  });
  const port = portIn(await gateway.logged('ready'), 'listen');
  const ask = async (path: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`);
    return `${response.status} ${await response.text()}`;
  };
  const waiting = ask('/held');
  const answer = await held;
  gateway.child.kill('SIGSTOP');
  answer.end('late, and there');
  await pause(2 * attemptTimeoutMs);
  gateway.child.kill('SIGCONT');
  assert.equal(await waiting, '200 late, and there');
  assert.equal(await ask('/'), '200 well');
  assert.equal((await gateway.stop()).code, 0);
  await origin.close();
});
