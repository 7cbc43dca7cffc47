import assert from 'node:assert/strict';
import { describe, mock, test } from 'node:test';
import { readFileSync } from 'node:fs';
import { connect } from 'node:http2';
import { fastify } from 'fastify';
import { Plan } from './plan.js';
import { ambassador } from './plugin.js';
import { DataPlane } from '../shared/process/data-plane.js';
import { TestAuthority } from '../tests/support/certificates.js';
import { httpOrigin, tcpOrigin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';

describe('the plugin', () => {
  test('mounts the ambassador below a prefix of somebody’s application, and leaves the rest alone', async () => {
    const origin = await httpOrigin((request, response) => response.end(`${request.url} ${String(request.headers['x-forwarded-for'])}`));
    const application = fastify();
    application.get('/own', () => 'mine');
    await application.register(ambassador, { prefix: '/api', config: { routes: [{ match: { path: '/api/orders' }, upstream: 'orders' }], upstreams: { orders: { endpoints: [`127.0.0.1:${origin.port}`] } } } });
    const address = await application.listen({ port: 0, host: '127.0.0.1' });
    assert.equal(await (await fetch(`${address}/own`)).text(), 'mine');
    assert.equal(await (await fetch(`${address}/api/orders/7?x=1`)).text(), '/api/orders/7?x=1 127.0.0.1');
    const missing = await fetch(`${address}/api/users`);
    assert.deepEqual([missing.status, missing.headers.get('content-type'), ((await missing.json()) as { code: string }).code], [404, 'application/problem+json', 'no_route']);
    assert.equal((await fetch(`${address}/other`)).status, 404);
    await application.close();
    await origin.close();
  });

  test('leaves the application alive when a client of HTTP/2 closes its connection before the answer', async (context) => {
    let arrived: (() => void) | undefined;
    let left: (() => void) | undefined;
    const untilArrived = new Promise<void>((resolve) => (arrived = resolve));
    const untilLeft = new Promise<void>((resolve) => (left = resolve));
    const origin = await tcpOrigin((socket) => {
      socket.once('data', () => arrived!());
      socket.once('close', () => left!());
    });
    const application = fastify({ http2: true });
    application.get('/own', () => 'mine');
    await application.register(ambassador as never, { prefix: '/api', config: { routes: [{ upstream: 'orders' }], upstreams: { orders: { endpoints: [`127.0.0.1:${origin.port}`] } } } } as never);
    const address = await application.listen({ port: 0, host: '127.0.0.1' });
    context.after(async () => {
      await application.close();
      await origin.close();
    });
    const session = connect(address);
    session.request({ ':path': '/api/orders' }).on('error', () => {});
    await untilArrived;
    session.destroy();
    await untilLeft;
    const other = connect(address);
    let text = '';
    for await (const chunk of other.request({ ':path': '/own' })) text += String(chunk);
    other.close();
    assert.equal(text, 'mine');
  });

  test('names every problem of its configuration', async () => {
    const application = fastify();
    await assert.rejects(async () => {
      await application.register(ambassador, { config: { routes: [{ upstream: 'nowhere' }], upstreams: {}, limits: { maxHeders: 1 } as object } });
      await application.ready();
    }, /limits\.maxHeders: unknown key[^]*there is no upstream "nowhere"|there is no upstream "nowhere"[^]*limits\.maxHeders: unknown key/);
    await application.close();
  });

  test('refuses rules by identity, which nobody proves to the application’s server', async () => {
    const authorization = { default: 'allow' as const, rules: [{ name: 'banned', action: 'deny' as const, from: { identities: ['spiffe://mesh.test/ns/default/sa/bad'] } }] };
    const application = fastify();
    await assert.rejects(async () => {
      await application.register(ambassador, { config: { routes: [{ upstream: 'orders', authorization }], upstreams: { orders: { endpoints: ['127.0.0.1:1'] } } } });
      await application.ready();
    }, /routes\[0\]\.authorization\.rules\[0\]\.from\.identities: no caller proves an identity here/);
    await application.close();
  });

  test('closes what it stands on when its plan cannot be built', async (context) => {
    // What the check of the configuration finds is not built at all: only a file that is exchanged in that moment gets so far.
    mock.method(Plan, 'build', () => Promise.reject(new Error('the file is gone')));
    const close = mock.method(DataPlane.prototype, 'close');
    context.after(() => mock.restoreAll());
    const application = fastify();
    await assert.rejects(async () => {
      await application.register(ambassador, { config: { routes: [{ respond: {} }], upstreams: {} } });
    }, /the file is gone/);
    assert.equal(close.mock.callCount(), 1);
    await application.close();
  });
});

test('the gateway speaks HTTP/2 where it is told to, and drains with a session open', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const files = await authority.issue('shop', { dns: ['localhost'] });
  const origin = await httpOrigin((_request, response) => response.end('over two'));
  const gateway = new TestProcess('gateway/main.js', {
    listen: { port: 0, tls: files, http2: true }, admin: { port: 0 }, drainTimeout: '5s',
    routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] } },
  });
  const port = portIn(await gateway.logged('ready'), 'listen');
  const session = connect(`https://127.0.0.1:${port}`, { servername: 'localhost', ca: readFileSync(authority.ca) });
  session.on('error', () => {});
  const stream = session.request({ ':path': '/' });
  let text = '';
  for await (const chunk of stream) text += String(chunk);
  assert.equal(text, 'over two');
  const stoppedAt = performance.now();
  const { code } = await gateway.stop();
  assert.equal(code, 0);
  assert.ok(performance.now() - stoppedAt < 3_000, 'an idle session held the drain up');
  session.destroy();
  await origin.close();
});
