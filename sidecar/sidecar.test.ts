import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { after, before, describe, test } from 'node:test';
import { freePort } from '../scenarios/lab/free-port.js';
import { httpOrigin, refusedPort, tcpOrigin, type Origin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';
import { exchangeRaw } from '../tests/support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 };

async function start(config: object): Promise<{ process: TestProcess; inbound: number; outbound: number; admin: number }> {
  const process = new TestProcess('sidecar/main.js', { service: 'orders', outbound: { listen }, admin: listen, ...config });
  const ready = await process.logged('ready');
  return { process, inbound: 'inbound' in ready ? portIn(ready, 'inbound') : 0, outbound: portIn(ready, 'outbound'), admin: portIn(ready, 'admin') };
}

/** As an application does it with HTTP_PROXY: an absolute target, sent to the proxy. */
function viaProxy(port: number, url: string, method = 'GET'): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path: url, method, headers: { host: new URL(url).host } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk)).on('end', () => resolve({ status: response.statusCode!, body }));
    });
    request.on('error', reject).end();
  });
}

describe('the sidecar', () => {
  let app: Origin;
  let peers: Origin[];
  let sidecar: Awaited<ReturnType<typeof start>>;

  before(async () => {
    app = await httpOrigin((request, response) => response.end(`app ${request.url} ${String(request.headers['x-request-id'])}`));
    peers = await Promise.all(['one', 'two'].map((name) => httpOrigin((request, response) => response.end(`${name} ${request.url} ${request.headers.host}`))));
    sidecar = await start({
      inbound: { listen, app: `127.0.0.1:${app.port}` },
      upstreams: { inventory: { endpoints: peers.map(({ port }) => `127.0.0.1:${port}`), balance: { algorithm: 'round-robin' } } },
    });
  });
  after(async () => {
    assert.equal((await sidecar.process.stop()).code, 0);
    await Promise.all([app, ...peers].map((one) => one.close()));
  });

  test('hands what comes in to the application, with the request id of the caller', async () => {
    const response = await fetch(`http://127.0.0.1:${sidecar.inbound}/orders/7`, { headers: { 'x-request-id': 'abc' } });
    assert.equal(await response.text(), 'app /orders/7 abc');
  });

  test('takes the application’s calls by absolute target, and spreads them over the endpoints', async () => {
    const bodies = await Promise.all([1, 2].map(() => viaProxy(sidecar.outbound, 'http://inventory/stock/1')));
    assert.deepEqual(bodies.map(({ body }) => body).sort(), ['one /stock/1 inventory', 'two /stock/1 inventory']);
  });

  test('takes them by Host too, whatever the port', async () => {
    assert.match(await exchangeRaw(sidecar.outbound, 'GET /stock HTTP/1.1\r\nHost: inventory:8080\r\nConnection: close\r\n\r\n'), /(one|two) \/stock inventory:8080$/);
  });

  test('answers 404 no_route for a service that is not configured', async () => {
    const { status, body } = await viaProxy(sidecar.outbound, 'http://payments/');
    assert.equal(status, 404);
    assert.match(body, /"code":"no_route"/);
  });
});

describe('upstreams that fail', () => {
  test('a retry goes to another endpoint, and is counted', async () => {
    const good = await httpOrigin((_request, response) => response.end('good'));
    const bad = await refusedPort();
    const sidecar = await start({ upstreams: { inventory: { endpoints: [`127.0.0.1:${bad}`, `127.0.0.1:${good.port}`], retry: { attempts: 2 }, balance: { algorithm: 'round-robin' } } } });
    for (let index = 0; index < 6; index++) assert.deepEqual(await viaProxy(sidecar.outbound, 'http://inventory/'), { status: 200, body: 'good' });
    const attempts = (await sidecar.process.accessLog(6)).map((line) => line['attempts']);
    assert.deepEqual([...attempts].sort(), [1, 1, 1, 2, 2, 2]);
    const metrics = await (await fetch(`http://127.0.0.1:${sidecar.admin}/metrics`)).text();
    assert.match(metrics, /^proxy_retries_total\{upstream="inventory",outcome="retried"\} 3$/m);
    await sidecar.process.stop();
    await good.close();
  });

  test('an endpoint whose breaker is open is left out, and the others serve', async () => {
    const good = await httpOrigin((_request, response) => response.end('good'));
    let asked = 0;
    const bad = await httpOrigin((_request, response) => {
      asked++;
      response.writeHead(500).end();
    });
    const sidecar = await start({ upstreams: { inventory: { endpoints: [`127.0.0.1:${bad.port}`, `127.0.0.1:${good.port}`], breaker: { volumeThreshold: 3, resetTimeout: '60s' }, balance: { algorithm: 'round-robin' } } } });
    const statuses: number[] = [];
    for (let index = 0; index < 20; index++) statuses.push((await viaProxy(sidecar.outbound, 'http://inventory/')).status);
    assert.equal(asked, 3);
    assert.deepEqual(statuses.slice(-12), Array(12).fill(200));
    const [inventory] = (await (await fetch(`http://127.0.0.1:${sidecar.admin}/upstreams`)).json()) as { endpoints: { address: string; breaker: string; healthy: boolean }[] }[];
    assert.deepEqual(inventory!.endpoints.map(({ breaker, healthy }) => [breaker, healthy]), [['open', false], ['closed', true]]);
    await sidecar.process.stop();
    await Promise.all([good.close(), bad.close()]);
  });

  test('an attempt that hangs is given up and made elsewhere, within the deadline', async () => {
    const good = await httpOrigin((_request, response) => response.end('good'));
    const hanging = await tcpOrigin(() => {});
    const sidecar = await start({
      upstreams: { inventory: { endpoints: [`127.0.0.1:${hanging.port}`, `127.0.0.1:${good.port}`], attemptTimeout: '100ms', timeout: '5s', retry: { attempts: 2, on: ['timeout'] }, balance: { algorithm: 'round-robin' } } },
    });
    for (let index = 0; index < 2; index++) assert.equal((await viaProxy(sidecar.outbound, 'http://inventory/')).body, 'good');
    await sidecar.process.stop();
    await Promise.all([good.close(), hanging.close()]);
  });

  test('contradictions are named and nothing is started', async () => {
    const { code, stderr } = await new TestProcess('sidecar/main.js', { service: 'orders', upstreams: { Inventory: { endpoints: ['x'] } } }).exited;
    assert.equal(code, 64);
    for (const expected of [/a sidecar needs inbound, outbound or both/, /upstreams are reached through outbound/, /upstreams\.Inventory: expected a lower-case DNS name|endpoints\[0\]: expected an address/]) assert.match(stderr, expected);
  });
});

test('an application that goes by a name of this machine, and is this listener, is met once', async () => {
  const port = await freePort();
  const { process, inbound } = await start({ inbound: { listen: { ...listen, port }, app: `127.1:${port}` } });
  const response = await fetch(`http://127.0.0.1:${inbound}/`);
  assert.deepEqual([response.status, ((await response.json()) as { code: string }).code], [508, 'loop_detected']);
  const { stdout } = await process.stop();
  assert.equal(stdout.trim().split('\n').length, 1);
});
