import assert from 'node:assert/strict';
import { after, before, describe, test, type TestContext } from 'node:test';
import { TestAuthority } from '../support/certificates.js';
import { ask, clientOf, serverOf, startProxy, type Identity } from '../support/mesh-pair.js';
import { httpOrigin, type Origin } from '../support/origin.js';

const orders = 'spiffe://mesh.test/ns/default/sa/orders';
const inventory = 'spiffe://mesh.test/ns/default/sa/inventory';
const xfcc = `By=${inventory};URI=${orders}`;

let authority: TestAuthority;
let client: Identity;
let server: Identity;
let app: Origin;

before(async () => {
  authority = await TestAuthority.create();
  client = await authority.identity('orders');
  server = await authority.identity('inventory');
  app = await httpOrigin((request, response) => response.end(JSON.stringify({ url: request.url, xfcc: request.headers['x-forwarded-client-cert'] ?? null, subject: request.headers['x-auth-subject'] ?? null })));
});
after(async () => {
  authority.remove();
  await app.close();
});

const seen = (body: string): { url: string; xfcc: string | null; subject: string | null } => JSON.parse(body) as ReturnType<typeof seen>;

async function pair(context: TestContext, { upstream = {}, http2 = false, workers = 1, inbound = {} }: { upstream?: object; http2?: string | false; workers?: number; inbound?: object } = {}) {
  const far = await serverOf(context, app.port, server, { inbound: { listen: { host: '127.0.0.1', port: 0, http2 }, ...inbound }, workers });
  return { far, near: await clientOf(context, far.port('inbound'), client, { upstream, workers }) };
}

describe('two sidecars that prove to each other who they are', () => {
  for (const [protocol, http2, version] of [['h1', false, '1.1'], ['h2', 'engine', '2'], ['auto', 'engine', '2'], ['auto', false, '1.1']] as const) {
    test(`serve a call over ${protocol}${http2 === false ? '' : ' with HTTP/2 at the other side'}; application and log are told who called`, async (context) => {
      const { far, near } = await pair(context, { upstream: { protocol }, http2 });
      for (const path of ['/one', '/two']) {
        const { status, body } = await ask(near.port('outbound'), { path });
        assert.deepEqual([status, seen(body)], [200, { url: path, xfcc, subject: null }]);
      }
      for (const line of await far.process.accessLog(2)) assert.deepEqual([line['peer'], line['status'], line['listener']], [orders, 200, 'inbound']);
      for (const line of await near.process.accessLog(2)) assert.equal('peer' in line, false);
      assert.equal(await far.metric('proxy_connections{listener="inbound"}'), 1, `one connection of HTTP/${version} serves both`);
    });
  }

  test('with two workers each, every call is proven', async (context) => {
    const { far, near } = await pair(context, { workers: 2 });
    const answers = await Promise.all(Array.from({ length: 20 }, () => ask(near.port('outbound'))));
    assert.deepEqual(new Set(answers.map(({ body }) => seen(body).xfcc)), new Set([xfcc]));
    assert.ok((await far.process.accessLog(20)).every(({ peer }) => peer === orders));
  });

  test('what a caller says about itself is not believed, whether it has proven another name or none', async (context) => {
    const spoofed = { 'x-forwarded-client-cert': 'By=x;URI=spiffe://mesh.test/ns/default/sa/admin', 'x-auth-subject': 'alice' };
    const { far, near } = await pair(context, { inbound: { mtls: 'permissive' } });
    assert.deepEqual(seen((await ask(near.port('outbound'), { headers: spoofed })).body), { url: '/', xfcc, subject: 'alice' });
    assert.deepEqual(seen((await ask(far.port('inbound'), { headers: spoofed })).body), { url: '/', xfcc: null, subject: 'alice' });
    const plain = await serverOf(context, app.port, undefined);
    assert.equal(seen((await ask(plain.port('inbound'), { headers: spoofed })).body).xfcc, null);
    const edge = await startProxy(context, 'gateway', { listen: { port: 0 }, identity: client, trustedProxies: ['127.0.0.1'], routes: [{ upstream: 'inventory' }], upstreams: { inventory: { endpoints: [{ address: `127.0.0.1:${far.port('inbound')}`, identity: inventory }] } } });
    assert.deepEqual(seen((await ask(edge.port('listen'), { headers: spoofed })).body), { url: '/', xfcc, subject: null });
  });

  test('health checks prove it too, and leave an endpoint out that cannot', async (context) => {
    const far = await serverOf(context, app.port, server);
    const healthCheck = { path: '/', interval: '50ms', unhealthyThreshold: 1 };
    const near = await clientOf(context, far.port('inbound'), client, { upstream: { healthCheck } });
    await far.process.accessLog(2);
    assert.equal((await ask(near.port('outbound'))).status, 200);
    const other = await clientOf(context, far.port('inbound'), client, { upstream: { healthCheck }, name: 'spiffe://mesh.test/ns/default/sa/payments' });
    await other.process.logged('health checks fail: the endpoint is left out');
    assert.ok((await other.metric('proxy_mtls_failed_total{upstream="inventory",reason="wrong_name"}')) > 0);
  });

  test('a copy of a call is sent by mutual TLS as well', async (context) => {
    const far = await serverOf(context, app.port, server);
    const near = await clientOf(context, far.port('inbound'), client, {
      routes: [{ match: { host: 'shop' }, upstream: 'plain', mirror: { upstream: 'inventory' } }],
      upstreams: { plain: { endpoints: [`127.0.0.1:${app.port}`] }, inventory: { endpoints: [{ address: `127.0.0.1:${far.port('inbound')}`, identity: inventory }] } },
    });
    assert.equal((await ask(near.port('outbound'), { headers: { host: 'shop' } })).status, 200);
    assert.equal((await far.process.accessLog(1))[0]!['peer'], orders);
  });

  test('sessions are resumed', async (context) => {
    const { near, far } = await pair(context, { upstream: { idleTimeout: '1ms' } });
    await ask(near.port('outbound'));
    await near.counted('proxy_connections{listener="outbound"}', 0);
    // What is resumed needs no certificate, but is still known.
    assert.equal(seen((await ask(near.port('outbound'))).body).xfcc, xfcc);
    assert.equal((await far.process.accessLog(2))[1]!['peer'], orders);
  });

  test('an endpoint whose name changes is a new one: no call goes over a connection that proved the old', async (context) => {
    const far = await serverOf(context, app.port, server);
    const near = await clientOf(context, far.port('inbound'), client);
    assert.equal((await ask(near.port('outbound'))).status, 200);
    const upstreams = (name: string): object => ({ inventory: { endpoints: [{ address: `127.0.0.1:${far.port('inbound')}`, identity: name }] } });
    near.process.reload({ ...near.config, upstreams: upstreams('spiffe://mesh.test/ns/default/sa/payments') });
    await near.process.logged('reloaded');
    const { status, body } = await ask(near.port('outbound'));
    assert.deepEqual([status, (JSON.parse(body) as { code: string }).code], [502, 'upstream_tls_failed']);
  });
});
