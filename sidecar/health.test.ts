import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestDnsServer } from '../tests/support/dns-server.js';
import { httpOrigin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';
import { exchangeRaw } from '../tests/support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 };

test('the same watching and discovery runs in a sidecar, by configuration alone', async () => {
  const dns = await TestDnsServer.start();
  let health = 200;
  const peer = await httpOrigin((request, response) => response.writeHead(request.url === '/healthz' ? health : 200, { 'content-length': 4 }).end('peer'));
  dns.set('A', 'inventory.test', ['127.0.0.1']);
  const sidecar = new TestProcess('sidecar/main.js', {
    service: 'orders',
    outbound: { listen },
    admin: listen,
    upstreams: {
      inventory: {
        discovery: { dns: { name: 'inventory.test', port: peer.port, family: 'ipv4', resolver: [`127.0.0.1:${dns.port}`] } },
        healthCheck: { path: '/healthz', interval: '20ms', unhealthyThreshold: 1, healthyThreshold: 1 },
        outlierDetection: {},
        limits: { maxRequests: 100 },
      },
    },
  });
  const port = portIn(await sidecar.logged('ready'), 'outbound');
  const ask = (): Promise<string> => exchangeRaw(port, 'GET / HTTP/1.1\r\nHost: inventory\r\nConnection: close\r\n\r\n');
  await sidecar.logged('discovery: the endpoints have changed');
  assert.match(await ask(), /peer$/);
  health = 500;
  await sidecar.logged('health checks fail: the endpoint is left out');
  // Without a panic threshold nobody is left; with one, the endpoint is asked all the same.
  assert.match(await ask(), /"code":"no_endpoint"|peer$/);
  health = 200;
  await sidecar.logged('health checks pass: the endpoint is used again');
  assert.match(await ask(), /peer$/);
  assert.equal((await sidecar.stop()).code, 0);
  await dns.close();
  await peer.close();
});
