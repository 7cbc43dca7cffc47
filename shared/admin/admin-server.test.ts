import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { test, type TestContext } from 'node:test';
import { exchangeRaw, RawClient } from '../../tests/support/raw-client.js';
import { createLogger } from '../telemetry/logger.js';
import { createAdminServer } from './admin-server.js';

interface Admin {
  readonly port: number;
  readonly drains: () => number;
}

async function start(context: TestContext, metrics = ''): Promise<Admin> {
  let drains = 0;
  const admin = createAdminServer({
    host: '127.0.0.1', port: 0, logger: createLogger({ name: 'test', level: 'silent' }), metrics: { contentType: 'text/plain', collect: async () => Buffer.from(metrics) },
    readiness: () => ({ ready: true, reasons: [] }), config: () => ({}), upstreams: async () => [], drain: () => drains++, schema: () => ({}), version: '0',
  });
  context.after(() => admin.close());
  const { port } = await admin.listen();
  return { port, drains: () => drains };
}

interface Answer {
  readonly status: number | undefined;
  readonly type: string | undefined;
  readonly problem: { readonly status?: number; readonly code?: string };
}

function drain({ port }: Admin, headers: Readonly<Record<string, string>>, body = ''): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path: '/drain', method: 'POST', agent: false, headers }, (answer) => {
      let text = '';
      answer.on('data', (data: Buffer) => (text += data.toString())).on('end', () => resolve({ status: answer.statusCode, type: answer.headers['content-type'], problem: JSON.parse(text) as Answer['problem'] }));
    });
    asked.on('error', reject).end(body);
  });
}

test('a page of another site drains nothing', async (context) => {
  const admin = await start(context);
  const own = `127.0.0.1:${admin.port}`;
  const pages: readonly (readonly [name: string, headers: Readonly<Record<string, string>>])[] = [
    ['of another host', { origin: 'https://evil.example' }],
    ['of another scheme', { origin: `https://${own}` }],
    ['of another port', { origin: 'http://127.0.0.1:1' }],
    ['of another name of this host', { origin: `http://localhost:${admin.port}` }],
    ['that says nothing of itself', { origin: 'null' }],
    ['of another site, without an origin', { 'sec-fetch-site': 'cross-site' }],
    ['of a host beside this', { 'sec-fetch-site': 'same-site' }],
    ['of another site, by a form', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }],
  ];
  for (const [name, headers] of pages) {
    const { status, type, problem } = await drain(admin, { 'content-type': 'text/plain', ...headers });
    assert.deepEqual([status, problem.code], [403, 'admin_origin_refused'], name);
    assert.match(type!, /^application\/problem\+json/);
  }
  assert.equal(admin.drains(), 0);
});

test('who is no browser drains, and so does a page of the admin server itself', async (context) => {
  const admin = await start(context);
  assert.equal((await drain(admin, {})).status, 202);
  assert.equal((await drain(admin, { host: `localhost:${admin.port}`, origin: `http://localhost:${admin.port}`, 'sec-fetch-site': 'same-origin' })).status, 202);
  assert.equal((await drain(admin, { 'sec-fetch-site': 'none' })).status, 202);
  // Behind a proxy that ends TLS the browser's own word counts.
  assert.equal((await drain(admin, { origin: `https://127.0.0.1:${admin.port}`, 'sec-fetch-site': 'same-origin' })).status, 202);
  assert.equal(admin.drains(), 4);
});

test('a link on a page of another site leads here, and that page itself gets nothing', async (context) => {
  const admin = await start(context);
  for (const [mode, status] of [['navigate', 200], ['no-cors', 403], ['cors', 403]] as const) {
    const asked = request({ host: '127.0.0.1', port: admin.port, path: '/healthz', agent: false, headers: { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': mode } }).end();
    const [answer] = (await once(asked, 'response')) as [IncomingMessage];
    answer.resume();
    assert.equal(answer.statusCode, status, mode);
  }
});

test('a request that is wrong is told so, and drains nothing', async (context) => {
  const admin = await start(context);
  const wrong: readonly (readonly [status: number, headers: Readonly<Record<string, string>>, body: string])[] = [
    [413, { 'content-type': 'text/plain' }, 'x'.repeat(16_385)],
    [400, { 'content-type': 'application/json' }, '{'],
    [415, { 'content-type': 'image/png' }, 'x'],
  ];
  for (const [expected, headers, body] of wrong) {
    const { status, type, problem } = await drain(admin, { ...headers, 'content-length': String(body.length) }, body);
    assert.deepEqual([status, problem.status, problem.code], [expected, expected, 'admin_bad_request']);
    assert.match(type!, /^application\/problem\+json/);
  }
  assert.equal(admin.drains(), 0);
});

test('a request whose body has a type and no bytes, as curl -d "" sends it, drains', async (context) => {
  const admin = await start(context);
  assert.equal((await drain(admin, { 'content-type': 'application/x-www-form-urlencoded', 'content-length': '0' }, '')).status, 202);
  assert.equal(admin.drains(), 1);
});

test('a name that could be rebound is refused; an address, a name without dots, or none at all is not', async (context) => {
  const { port } = await start(context);
  const asked: readonly (readonly [head: string, status: number])[] = [
    ['GET /healthz HTTP/1.0\r\n\r\n', 200],
    ['OPTIONS / HTTP/1.0\r\n\r\n', 404],
    ['GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: gateway:9901\r\n\r\n', 200],
    ['GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: 10.0.0.7:9901\r\n\r\n', 200],
    ['GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: gateway.shop.svc\r\n\r\n', 421],
    ['GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n', 421],
  ];
  for (const [head, status] of asked) assert.match(await exchangeRaw(port, head), new RegExp(`^HTTP/1\\.1 ${status} `), head);
});

test('an address that cannot be decoded is told so as everything else is', async (context) => {
  const { port } = await start(context);
  const answer = await exchangeRaw(port, 'GET /%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
  assert.match(answer, /^HTTP\/1\.1 400 [^]*\r\ncontent-type: application\/problem\+json[^]*"code":"admin_bad_request"/);
});

test('a request that does not arrive in time is cut off, and so is a connection too many', async (context) => {
  const { port } = await start(context);
  const startedAt = performance.now();
  const connectSlow = async (): Promise<RawClient> => (await RawClient.connect(port)).send('GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ');
  const slow = await connectSlow();
  const others = await Promise.all(Array.from({ length: 255 }, connectSlow));
  // Which one is closed depends on what was read by then: to later versions of Node whoever has not begun to ask is idle.
  const all = [...others, await connectSlow()];
  assert.equal(await Promise.race(all.map((client) => client.untilClosed())), '');
  assert.ok(performance.now() - startedAt < 9_000, 'at once');
  all.forEach(({ socket }) => socket.destroy());
  await slow.untilClosed();
  assert.ok(performance.now() - startedAt < 20_000, `${performance.now() - startedAt} ms`);
});

test('connections that wait for another request give way to a new one, and those that are answered do not', async (context) => {
  const { port } = await start(context);
  const busy = (await RawClient.connect(port)).send('GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ');
  const idle = await Promise.all(Array.from({ length: 255 }, async () => (await RawClient.connect(port)).send('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n').until((text) => text.endsWith('}'))));
  assert.match(idle[0]!, /^HTTP\/1\.1 200 [^]*\r\nKeep-Alive: timeout=5\r\n/);
  assert.match(await exchangeRaw(port, 'GET /healthz HTTP/1.0\r\n\r\n'), /^HTTP\/1\.1 200 /);
  busy.send('y\r\nConnection: close\r\n\r\n');
  assert.match(await busy.untilClosed(), /^HTTP\/1\.1 200 /);
});

test('a client that takes nothing of its answer is cut off', async (context) => {
  const { port } = await start(context, 'x'.repeat(64 * 1_024 * 1_024));
  const client = (await RawClient.connect(port)).send('GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await client.until((text) => text.length > 0);
  client.socket.pause();
  // Each of these takes ten seconds to be cut off.
  for (let waits = 0; waits < 2; waits++) await (await RawClient.connect(port)).send('GET / HTTP/1.1\r\n').untilClosed();
  client.socket.resume();
  assert.ok((await client.untilClosed()).length < 64 * 1_024 * 1_024);
});
