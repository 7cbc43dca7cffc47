import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect as connectTcp, createServer as createTcpServer, type AddressInfo, type Server } from 'node:net';
import { connect, createServer, type ConnectionOptions } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { TestAuthority, type CertificateOptions, type KeyPairFiles } from '../support/certificates.js';
import { ask, clientOf, serverOf, type Identity, type MeshProxy } from '../support/mesh-pair.js';
import { httpOrigin, type Origin } from '../support/origin.js';
import { exchangeRaw, RawClient } from '../support/raw-client.js';

const request = 'GET / HTTP/1.1\r\nHost: inventory\r\nConnection: close\r\n\r\n';
const inventory = 'spiffe://mesh.test/ns/default/sa/inventory';
const hour = 3_600_000;

let authority: TestAuthority;
let stranger: TestAuthority;
let orders: Identity;
let server: Identity;
/** Ends what a suite has started. */
function ending(): { readonly after: (step: () => unknown) => void; readonly end: () => Promise<unknown> } {
  const steps: (() => unknown)[] = [];
  return { after: (step) => void steps.push(step), end: () => Promise.all(steps.map((step) => step())) };
}

before(async () => {
  authority = await TestAuthority.create();
  stranger = await TestAuthority.create();
  orders = await authority.identity('orders');
  server = await authority.identity('inventory');
});
after(() => {
  authority.remove();
  stranger.remove();
});

const pair = ({ cert, key }: KeyPairFiles): { cert: Buffer; key: Buffer } => ({ cert: readFileSync(cert), key: readFileSync(key) });

/** One request over TLS of its own: what came back, or how it ended. */
function askTls(port: number, options: ConnectionOptions): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false, ...options });
    let text = '';
    socket.on('secureConnect', () => socket.write(request));
    socket.on('data', (data: Buffer) => (text += data.toString()));
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
  });
}

interface BadCaller {
  readonly reason: string;
  readonly detail: RegExp;
  readonly name?: RegExp;
  /** Whose certificate it shows: none, a stranger's, or one of the mesh's authority with these properties. */
  readonly shows: 'nothing' | (CertificateOptions & { readonly by?: 'stranger' });
}

const named = ['spiffe://mesh.test/ns/default/sa/orders'];
const badCallers: Readonly<Record<string, BadCaller>> = {
  'without a certificate': { reason: 'no_certificate', detail: /no certificate/, shows: 'nothing' },
  'with a certificate of a foreign authority': { reason: 'untrusted', detail: /UNABLE_TO|SELF_SIGNED|SIGNATURE/, name: /sa\/orders/, shows: { uri: named, by: 'stranger' } },
  'with an expired certificate': { reason: 'expired', detail: /CERT_HAS_EXPIRED/, name: /sa\/orders/, shows: { uri: named, from: -2 * hour, to: -hour } },
  'with a certificate that is not valid yet': { reason: 'expired', detail: /CERT_NOT_YET_VALID/, name: /sa\/orders/, shows: { uri: named, from: hour, to: 2 * hour } },
  'of another trust domain': { reason: 'wrong_name', detail: /trust domain is not mesh\.test/, name: /other\.test/, shows: { uri: ['spiffe://other.test/ns/default/sa/orders'] } },
  'with a certificate that names no workload': { reason: 'wrong_name', detail: /no SPIFFE name/, name: /DNS:orders\.test/, shows: { dns: ['orders.test'] } },
  'with a certificate that names nothing': { reason: 'wrong_name', detail: /no SPIFFE name/, shows: { uri: [] } },
  'with a certificate that names two workloads': { reason: 'wrong_name', detail: /no SPIFFE name/, shows: { uri: [...named, 'spiffe://mesh.test/ns/default/sa/admin'] } },
};

describe('a strict listener', () => {
  const suite = ending();
  let app: Origin;
  let reached = 0;
  let sidecar: MeshProxy;
  let refusals = 0;
  before(async () => {
    app = await httpOrigin((_request, response) => {
      reached++;
      response.end('hello');
    });
    sidecar = await serverOf(suite, app.port, server, { inbound: { listen: { host: '127.0.0.1', port: 0, http2: 'engine' } } });
  });
  after(async () => {
    await suite.end();
    await app.close();
  });

  const port = (): number => sidecar.port('inbound');
  /** What metric and log say of the next refusal. */
  const refused = async (reason: string, count: number): Promise<Record<string, unknown>> => {
    await sidecar.counted(`proxy_mtls_refused_total{listener="inbound",reason="${reason}"}`, count);
    return sidecar.process.logged('mtls: a caller was refused', ++refusals);
  };

  test('serves a caller whose certificate is good, whatever else it can prove it with', async () => {
    assert.match(await askTls(port(), pair(orders)), /^HTTP\/1\.1 200 OK[^]*hello$/);
    assert.equal(reached, 1);
  });

  const counts = new Map<string, number>();
  for (const [caller, { reason, detail, name, shows }] of Object.entries(badCallers)) {
    test(`closes the connection of a caller ${caller}; metric and log say why`, async () => {
      const before = reached;
      const options = shows === 'nothing' ? {} : pair(await (shows.by === 'stranger' ? stranger : authority).issue('caller', shows));
      assert.equal(await askTls(port(), options), '');
      const count = (counts.get(reason) ?? 0) + 1;
      counts.set(reason, count);
      const line = await refused(reason, count);
      assert.deepEqual([line['listener'], line['client'], line['reason']], ['inbound', '127.0.0.1', reason]);
      assert.match(String(line['detail']), detail);
      if (name !== undefined) assert.match(String(line['shown']), name);
      assert.equal(reached, before, 'the application saw the request');
    });
  }

  test('tells a caller that speaks plaintext so, in answer, access log, metric and log', async () => {
    const text = await exchangeRaw(port(), request);
    assert.match(text, /^HTTP\/1\.1 403 Forbidden[^]*"code":"mtls_required"/);
    assert.match(text, /content-type: application\/problem\+json/i);
    const line = await refused('plaintext', 1);
    assert.deepEqual([line['reason'], line['client']], ['plaintext', '127.0.0.1']);
    assert.equal((await sidecar.process.accessLog(2)).at(-1)!['code'], 'mtls_required');
    // Not even the preface of HTTP/2 is looked into.
    assert.match(await exchangeRaw(port(), 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), /^HTTP\/1\.1 403/);
    await refused('plaintext', 2);
    assert.match(await exchangeRaw(port(), '\0nonsense'), /^HTTP\/1\.1 403/);
    await refused('plaintext', 3);
    assert.equal(await sidecar.metric('proxy_errors_total{listener="inbound",code="mtls_required"}'), 3);
    assert.equal(reached, 1);
  });

  test('closes what begins as TLS and is none, or of a version that is not spoken', async () => {
    await exchangeRaw(port(), '\x16\x03\x01nonsense');
    const line = await refused('handshake', 1);
    assert.deepEqual([line['reason'], line['client'], line['shown']], ['handshake', '127.0.0.1', undefined]);
  });

  test('counts every refusal, but does not let its log be filled', async () => {
    const before = sidecar.process.stderr.split('\n').length;
    for (let round = 0; round < 10; round++) await Promise.all(Array.from({ length: 10 }, () => exchangeRaw(port(), 'x')));
    await sidecar.counted('proxy_mtls_refused_total{listener="inbound",reason="plaintext"}', 103);
    assert.ok(sidecar.process.stderr.split('\n').length - before < 60);
  });

  test('closes a connection that says nothing, in time, and does not wait for it in a drain', async () => {
    const own = ending();
    const one = await serverOf(own, app.port, server, { limits: { headTimeout: '300ms' } });
    const silent = await RawClient.connect(one.port('inbound'));
    assert.equal(await silent.untilClosed(), '');
    await own.end();
    const other = await serverOf(own, app.port, server, { drainTimeout: '60s' });
    const waiting = connectTcp(other.port('inbound'), '127.0.0.1');
    await once(waiting, 'connect');
    waiting.on('error', () => {});
    assert.equal((await other.process.stop()).code, 0);
  });
});

describe('an endpoint that does not prove its name', () => {
  const servers: Server[] = [];
  after(() => servers.forEach((one) => one.close()));

  /** A server that shows a certificate, and keeps what it is sent. */
  async function endpoint(files: KeyPairFiles | undefined): Promise<{ port: number; sent: () => string }> {
    let sent = '';
    const one = files === undefined ? createTcpServer((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\n')).on('error', () => {})) : createServer({ ...pair(files), requestCert: true, rejectUnauthorized: false }, (socket) => socket.on('data', (data: Buffer) => (sent += data.toString())).on('error', () => {}));
    servers.push(one);
    await new Promise<void>((resolve) => one.listen(0, '127.0.0.1', resolve));
    return { port: (one.address() as AddressInfo).port, sent: () => sent };
  }

  const bad: readonly (readonly [name: string, reason: string, shows: (CertificateOptions & { by?: 'stranger' }) | undefined])[] = [
    ['a right certificate of another service', 'wrong_name', { uri: ['spiffe://mesh.test/ns/default/sa/payments'] }],
    ['its name in another trust domain', 'wrong_name', { uri: ['spiffe://other.test/ns/default/sa/inventory'] }],
    ['no SPIFFE name, but that of the host', 'wrong_name', { dns: ['localhost'], ip: ['127.0.0.1'] }],
    ['a certificate of a foreign authority', 'untrusted', { uri: [inventory], by: 'stranger' }],
    ['an expired certificate', 'expired', { uri: [inventory], from: -2 * hour, to: -hour }],
    ['a certificate that is not valid yet', 'expired', { uri: [inventory], from: hour, to: 2 * hour }],
    ['no TLS', 'handshake', undefined],
  ];

  for (const [shown, reason, shows] of bad) {
    test(`and shows ${shown} gets nothing of the call, which fails with upstream_tls_failed`, async (context) => {
      const { port, sent } = await endpoint(shows && (await (shows.by === 'stranger' ? stranger : authority).issue('endpoint', shows)));
      const near = await clientOf(context, port, orders, { upstream: { healthCheck: undefined } });
      const { status, body } = await ask(near.port('outbound'), { method: 'POST', body: 'secret' });
      assert.deepEqual([status, (JSON.parse(body) as { code: string }).code], [502, 'upstream_tls_failed']);
      await near.counted(`proxy_mtls_failed_total{upstream="inventory",reason="${reason}"}`, 1);
      const line = await near.process.logged('mtls: an endpoint was not believed');
      assert.deepEqual([line['upstream'], line['endpoint'], line['expected'], line['reason']], ['inventory', `127.0.0.1:${port}`, inventory, reason]);
      assert.equal((await near.process.accessLog(1))[0]!['code'], 'upstream_tls_failed');
      assert.equal(sent(), '');
    });
  }

  test('is not believed over HTTP/2 or where the protocol is to be found out either', async (context) => {
    const { port, sent } = await endpoint(await authority.issue('endpoint', { uri: ['spiffe://mesh.test/ns/default/sa/payments'] }));
    for (const protocol of ['h2', 'auto']) {
      const near = await clientOf(context, port, orders, { upstream: { protocol } });
      assert.equal((await ask(near.port('outbound'))).status, 502);
      await near.counted('proxy_mtls_failed_total{upstream="inventory",reason="wrong_name"}', 1);
    }
    assert.equal(sent(), '');
  });

  test('a caller whose own certificate is refused sees the connection break, and not an answer', async (context) => {
    const app = await httpOrigin((_request, response) => response.end('hello'));
    context.after(() => app.close());
    const far = await serverOf(context, app.port, server);
    const expired = { ...(await authority.issue('late', { uri: named, from: -2 * hour, to: -hour })), bundle: authority.ca };
    const near = await clientOf(context, far.port('inbound'), expired);
    const { status, body } = await ask(near.port('outbound'));
    assert.deepEqual([status, (JSON.parse(body) as { code: string }).code], [502, 'upstream_reset']);
    await far.counted('proxy_mtls_refused_total{listener="inbound",reason="expired"}', 1);
  });
});
