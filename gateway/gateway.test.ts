import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { httpOrigin, readBody, refusedPort, tcpOrigin, type Origin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';
import { exchangeRaw, RawClient } from '../tests/support/raw-client.js';

const entry = 'gateway/main.js';
const admin = { host: '127.0.0.1', port: 0 };
const listen = { host: '127.0.0.1', port: 0 };

async function start(config: object): Promise<{ process: TestProcess; url: string; port: number; admin: string }> {
  const process = new TestProcess(entry, { listen, admin, ...config });
  const ready = await process.logged('ready');
  return { process, port: portIn(ready, 'listen'), url: `http://127.0.0.1:${portIn(ready, 'listen')}`, admin: `http://127.0.0.1:${portIn(ready, 'admin')}` };
}

interface Problem {
  readonly status: number;
  readonly code: string;
}

describe('the gateway', () => {
  let origin: Origin;
  let refused: number;
  let silent: Origin;
  let resetting: Origin;
  let gateway: Awaited<ReturnType<typeof start>>;

  before(async () => {
    origin = await httpOrigin(async (request, response) => {
      const body = await readBody(request);
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify({ url: request.url, headers: request.headers, body }));
    });
    refused = await refusedPort();
    silent = await tcpOrigin(() => {});
    resetting = await tcpOrigin((socket) => socket.once('data', () => socket.resetAndDestroy()));
    gateway = await start({
      routes: [
        { match: { path: '/' }, upstream: 'origin' },
        { match: { path: '/admin' }, upstream: 'refused' },
        { match: { path: '/silent' }, upstream: 'silent', timeout: '150ms' },
        { match: { path: '/reset' }, upstream: 'resetting' },
        { match: { path: '/limited' }, upstream: 'origin', rateLimit: { max: 1, timeWindow: '60s', key: 'ip' } },
        { match: { path: '/', host: 'only.example' }, upstream: 'refused' },
        { match: { path: '/write', method: 'POST' }, upstream: 'refused' },
      ],
      upstreams: {
        origin: { endpoints: [`127.0.0.1:${origin.port}`] },
        refused: { endpoints: [`127.0.0.1:${refused}`] },
        silent: { endpoints: [`127.0.0.1:${silent.port}`] },
        resetting: { endpoints: [`127.0.0.1:${resetting.port}`] },
      },
    });
  });
  after(async () => {
    assert.equal((await gateway.process.stop()).code, 0);
    await Promise.all([origin, silent, resetting].map((one) => one.close()));
  });

  const failures: readonly (readonly [name: string, path: string, status: number, code: string])[] = [
    ['a refused upstream', '/admin', 503, 'upstream_connect_failed'],
    ['a silent upstream', '/silent', 504, 'deadline_exceeded'],
    ['a reset upstream', '/reset', 502, 'upstream_reset'],
  ];
  for (const [name, path, status, code] of failures) {
    test(`answers ${status} ${code} for ${name}, and says nothing of what is behind it`, async () => {
      const response = await fetch(gateway.url + path);
      const text = await response.text();
      assert.equal(response.status, status);
      assert.equal(response.headers.get('content-type'), 'application/problem+json');
      const problem = JSON.parse(text) as Problem;
      assert.deepEqual([problem.status, problem.code], [status, code]);
      assert.doesNotMatch(text, /127\.0\.0\.1|ECONN|at /);
    });
  }

  test('refuses CONNECT, and says what it forwards', async () => {
    assert.match(await exchangeRaw(gateway.port, 'CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n'), /^HTTP\/1\.1 405 [^]*\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE\r\n/);
  });

  test('routes by the longest prefix on a segment boundary, however the path is spelt', async () => {
    for (const path of ['/admin', '/admin/x', '/%61dmin', '//admin', '/x/../admin', '/admin;a=b', '/./admin']) {
      assert.match(await exchangeRaw(gateway.port, `GET ${path} HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n`), /^HTTP\/1\.1 503 /, path);
    }
    assert.equal((await fetch(`${gateway.url}/administration`)).status, 200);
  });

  test('routes by host and by method', async () => {
    assert.match(await exchangeRaw(gateway.port, 'GET / HTTP/1.1\r\nHost: ONLY.example:8080\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 503 /);
    assert.equal((await fetch(`${gateway.url}/write`)).status, 200);
    assert.equal((await fetch(`${gateway.url}/write`, { method: 'POST' })).status, 503);
  });

  test('says who the client is, and removes what the client says about itself', async () => {
    const spoofed = { 'x-forwarded-for': '1.2.3.4', 'x-forwarded-host': 'evil', 'x-forwarded-proto': 'https', forwarded: 'for=1.2.3.4', 'x-real-ip': '1.2.3.4', 'x-auth-subject': 'root', 'x-request-id': 'mine', 'x-forwarded-prefix': '/x' };
    const { headers } = (await (await fetch(gateway.url, { headers: spoofed })).json()) as { headers: Record<string, string> };
    assert.equal(headers['x-forwarded-for'], '127.0.0.1');
    assert.equal(headers['x-forwarded-proto'], 'http');
    assert.equal(headers['x-forwarded-host'], new URL(gateway.url).host);
    for (const name of ['forwarded', 'x-real-ip', 'x-auth-subject', 'x-forwarded-prefix']) assert.equal(headers[name], undefined, name);
    assert.match(headers['x-request-id']!, /^[0-9a-f]{32}$/);
    assert.match(headers['traceparent']!, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  });

  test('lets nobody around a changed field, or one that a rule asks for, by another spelling of it', async () => {
    const authorization = { default: 'allow', rules: [{ name: 'internal', action: 'deny', headers: { 'X-Internal': { present: true } } }] };
    const guarded = await start({
      routes: [{ match: { path: '/changed' }, upstream: 'origin', headers: { request: { set: { 'X-Tenant': 'public' }, remove: ['X-Internal'] } } }, { match: { path: '/asked' }, upstream: 'origin', authorization }],
      upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } },
    });
    const get = (path: string, fields: string): Promise<string> => exchangeRaw(guarded.port, `GET ${path} HTTP/1.1\r\nHost: shop\r\nX_Other: 1\r\n${fields}Connection: close\r\n\r\n`);
    const changed = await get('/changed', 'X_Tenant: admin\r\nX_Internal: 1\r\n');
    assert.match(changed, /"x-tenant":"public"/);
    assert.match(changed, /"x_other":"1"/);
    assert.doesNotMatch(changed, /x_tenant|x_internal/);
    assert.match(await get('/asked', 'X-Internal: 1\r\n'), /^HTTP\/1\.1 403 /);
    const asked = await get('/asked', 'X_Internal: 1\r\n');
    assert.match(asked, /^HTTP\/1\.1 200 [^]*"x_other":"1"/);
    assert.doesNotMatch(asked, /x_internal/);
    assert.equal((await guarded.process.stop()).code, 0);
  });

  for (const [clientAddressFrom, said, claimed] of [
    ['x-forwarded-for', 'X-Forwarded-For: 203.0.113.9:4711', 'Forwarded: for=10.8.0.1'],
    ['forwarded', 'Forwarded: for="203.0.113.9:4711"', 'X-Forwarded-For: 10.8.0.1\r\nForwarded: for=10.8.0.1, for="'],
  ] as const) {
    test(`asks who the client is of what a balancer writes, and not of what its client does: ${clientAddressFrom}`, async () => {
      const authorization = { default: 'allow', rules: [{ name: 'banned', action: 'deny', from: { addresses: ['203.0.113.0/24'] } }] };
      const behind = await start({
        trustedProxies: ['127.0.0.1'], clientAddressFrom, forwardedField: true,
        routes: [{ upstream: 'origin' }, { match: { path: '/guarded' }, upstream: 'origin', authorization }],
        upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } },
      });
      const get = (path: string): Promise<string> => exchangeRaw(behind.port, `GET ${path} HTTP/1.1\r\nHost: shop\r\n${claimed}\r\n${said}\r\nConnection: close\r\n\r\n`);
      assert.match(await get('/guarded'), /^HTTP\/1\.1 403 /);
      const seen = await get('/');
      assert.match(seen, /"x-forwarded-for":"203\.0\.113\.9, 127\.0\.0\.1"/);
      assert.match(seen, /"forwarded":"for=203\.0\.113\.9, for=127\.0\.0\.1;proto=http;host=\\"shop\\""/);
      assert.equal((await behind.process.stop()).code, 0);
    });
  }

  test('continues the trace of the caller', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
    const { headers } = (await (await fetch(gateway.url, { headers: { traceparent } })).json()) as { headers: Record<string, string> };
    assert.match(headers['traceparent']!, /^00-0af7651916cd43dd8448eb211c80319c-(?!b7ad6b7169203331)[0-9a-f]{16}-01$/);
  });

  test('counts quotas and says what is left', async () => {
    const first = await fetch(`${gateway.url}/limited`);
    assert.equal(first.status, 200);
    assert.equal(first.headers.get('ratelimit'), '"default";r=0;t=60');
    const second = await fetch(`${gateway.url}/limited`);
    assert.equal(second.status, 429);
    assert.ok(Number(second.headers.get('retry-after')) >= 1);
    assert.equal(((await second.json()) as Problem).code, 'rate_limited');
  });

  test('writes one line of access log for each exchange, malformed ones included', async () => {
    await exchangeRaw(gateway.port, 'GET /logged?secret=1 HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n');
    await exchangeRaw(gateway.port, 'nonsense\r\n\r\n');
    // Lines leave in batches: those of the tests before may come only now.
    let lines: Record<string, unknown>[] = [];
    for (let count = 2; lines.length < 2; count++) {
      const all = await gateway.process.accessLog(count);
      const from = all.findIndex(({ path }) => path === '/logged');
      if (from !== -1) lines = all.slice(from);
    }
    assert.deepEqual(
      lines.map(({ listener, method, path, status, code, flags, route, upstream }) => ({ listener, method, path, status, code, flags, route, upstream })),
      [
        { listener: 'edge', method: 'GET', path: '/logged', status: 200, code: undefined, flags: undefined, route: '/', upstream: 'origin' },
        { listener: 'edge', method: '-', path: '-', status: 400, code: 'bad_request', flags: 'DPE', route: undefined, upstream: undefined },
      ],
    );
  });

  test('shows its state to operators', async () => {
    assert.deepEqual(await (await fetch(`${gateway.admin}/readyz`)).json(), { ready: true, reasons: [] });
    assert.equal((await fetch(`${gateway.admin}/healthz`)).status, 200);
    const metrics = await (await fetch(`${gateway.admin}/metrics`)).text();
    assert.match(metrics, /^proxy_errors_total\{listener="edge",code="upstream_reset"\} 1$/m);
    assert.match(metrics, /^process_cpu_seconds_total /m);
    const upstreams = (await (await fetch(`${gateway.admin}/upstreams`)).json()) as { name: string; endpoints: { breaker: string }[] }[];
    assert.equal(upstreams.find(({ name }) => name === 'origin')!.endpoints[0]!.breaker, 'closed');
    assert.equal(((await (await fetch(`${gateway.admin}/config`)).json()) as { routes: unknown[] }).routes.length, 7);
    assert.equal((await fetch(`${gateway.admin}/nothing`)).status, 404);
    assert.match(await exchangeRaw(Number(new URL(gateway.admin).port), 'GET /config HTTP/1.1\r\nHost: rebound.example.com\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 421 /);
  });
});

describe('the life of the gateway', () => {
  test('SIGTERM makes it not ready, finishes what is in flight, and exits 0', async () => {
    let answer: (() => void) | undefined;
    const asked = new Promise<void>((resolve) => {
      void httpOrigin((_request, response) => {
        answer = () => response.end('done');
        resolve();
      }).then((server) => (origin = server));
    });
    let origin: Origin | undefined;
    while (origin === undefined) await new Promise((resolve) => setImmediate(resolve));
    const { process, port, admin: adminUrl } = await start({ drainDelay: '100ms', routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } } });
    const client = await RawClient.connect(port);
    client.send('GET / HTTP/1.1\r\nHost: shop\r\n\r\n');
    await asked;
    process.child.kill('SIGTERM');
    await process.logged('draining');
    const ready = await fetch(`${adminUrl}/readyz`);
    assert.equal(ready.status, 503);
    assert.deepEqual(await ready.json(), { ready: false, reasons: ['draining'] });
    answer!();
    assert.match(await client.untilClosed().then((text) => text), /done/);
    assert.equal((await process.exited).code, 0);
    await origin.close();
  });

  test('names every problem of a wrong configuration, exits 64, and opens nothing', async () => {
    const process = new TestProcess(entry, 'listen: { port: x }\nroutes:\n  - { match: { paht: / }, upstream: nowhere }\nupstreams: {}\ntypo: 1\n');
    const { code, stderr, stdout } = await process.exited;
    assert.equal(code, 64);
    assert.equal(stdout, '');
    for (const expected of [/listen\.port: /, /routes\[0\]\.match\.paht: unknown key/, /routes\[0\]\.upstream: there is no upstream "nowhere"/, /typo: unknown key/]) assert.match(stderr, expected);
  });

  test('--check says nothing about a good configuration and exits 0', async () => {
    const { code, stderr } = await new TestProcess(entry, { listen, routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: ['127.0.0.1:1'] } } }, ['--check']).exited;
    assert.deepEqual([code, stderr], [0, '']);
  });

  test('serves TLS, 1.2 at least, and refuses a key that does not belong to the certificate', async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'gateway-tls-'));
    context.after(() => rmSync(directory, { recursive: true }));
    const pair = (name: string): { cert: string; key: string } => {
      const [cert, key] = [join(directory, `${name}.crt`), join(directory, `${name}.key`)];
      const made = spawnSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', key, '-out', cert, '-days', '1', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost']);
      assert.equal(made.status, 0, String(made.stderr));
      return { cert, key };
    };
    if (spawnSync('openssl', ['version']).error !== undefined) return context.skip('openssl is not installed');
    const [one, other] = [pair('one'), pair('other')];
    const origin = await httpOrigin((request, response) => response.end(request.headers['x-forwarded-proto']));
    const config = { admin, routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: [`127.0.0.1:${origin.port}`] } } };
    const { code, stderr } = await new TestProcess(entry, { ...config, listen: { ...listen, tls: { cert: one.cert, key: other.key } } }).exited;
    assert.equal(code, 64);
    assert.match(stderr, /listen\.tls: certificate and key cannot be used together/);

    const gateway = await start({ ...config, listen: { ...listen, tls: one } });
    const ask = (options: ConnectionOptions): Promise<string> =>
      new Promise((resolve, reject) => {
        const socket = connectTls({ host: '127.0.0.1', port: gateway.port, servername: 'localhost', ca: readFileSync(one.cert), ...options }, () => socket.write('GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'));
        let text = '';
        socket.on('data', (data: Buffer) => (text += data.toString())).on('end', () => resolve(text)).on('error', reject);
      });
    assert.match(await ask({}), /^HTTP\/1\.1 200 OK[^]*https$/);
    await assert.rejects(ask({ minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }));
    await gateway.process.stop();
    await origin.close();
  });

  test('without a configuration it says what is missing and exits 64', async () => {
    const { code, stderr } = await new TestProcess(entry, undefined).exited;
    assert.equal(code, 64);
    assert.match(stderr, /--config FILE/);
  });

  test('a port that is taken is named', async () => {
    const taken = createServer();
    taken.listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const { code, stderr } = await new TestProcess(entry, { listen: { host: '127.0.0.1', port }, admin, routes: [{ upstream: 'a' }], upstreams: { a: { endpoints: ['127.0.0.1:1'] } } }).exited;
    assert.equal(code, 69);
    assert.match(stderr, new RegExp(`could not listen on 127\\.0\\.0\\.1:${port}: the port is taken`));
    taken.close();
  });
});
