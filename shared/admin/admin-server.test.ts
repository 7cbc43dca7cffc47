import assert from 'node:assert/strict';
import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import { test, type TestContext } from 'node:test';
import { createLogger } from '../telemetry/logger.js';
import { createAdminServer } from './admin-server.js';

interface Admin {
  readonly port: number;
  readonly drains: () => number;
}

async function start(context: TestContext): Promise<Admin> {
  let drains = 0;
  const admin = createAdminServer({
    host: '127.0.0.1', port: 0, logger: createLogger({ name: 'test', level: 'silent' }), metrics: { contentType: 'text/plain', collect: async () => '' },
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
