import 'reflect-metadata';
import assert from 'node:assert/strict';
import { webcrypto } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer } from 'node:tls';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import * as x509 from '@peculiar/x509';
import { TestAuthority } from '../tests/support/certificates.js';
import { refusedPort } from '../tests/support/origin.js';
import { Mesh, Plane, end } from '../tests/support/running-mesh.js';
import { until } from '../tests/support/until.js';

const service = (name: string, ...endpoints: string[]): object => ({ kind: 'Service', name, ...(endpoints.length > 0 && { endpoints }) });

async function plane(context: TestContext, config: object = {}): Promise<Plane> {
  const started = await Plane.start(config);
  context.after(() => end(started.process));
  return started;
}

/** A proxy that opens its stream and reads nothing of it. */
function deaf({ port }: Plane, node: string) {
  const socket = connect(port, '127.0.0.1');
  socket.on('error', () => {});
  socket.pause();
  socket.write(`GET /v1/proxies/${node}/stream?kind=sidecar HTTP/1.1\r\nHost: x\r\n\r\n`);
  return socket;
}

function resident({ process }: Plane): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${process.child.pid}/status`, 'utf8'))![1]) * 1_024;
}

describe('streams', () => {
  test('readers that take nothing while a thousand things change hold nobody up, and cost what one snapshot costs', async (context) => {
    const control = await plane(context);
    await control.apply(...Array.from({ length: 400 }, (_, index) => service(`s-${index}`, ...Array.from({ length: 40 }, (__, port) => `10.0.0.1:${1_000 + port}`))));
    const sockets = Array.from({ length: 20 }, (_, index) => deaf(control, `deaf-${index}`));
    context.after(() => sockets.forEach((socket) => socket.destroy()));
    await until(async () => (await control.status()).proxies.length === 20);
    const gateway = await new Mesh(context, control.url).gateway();
    const before = resident(control);
    for (let change = 1; change <= 1_000; change++) {
      assert.equal((await control.api('PUT', `/v1/registry/s-x/i`, { address: `10.9.${change >> 8}.${change & 255}:80`, ttl: '60s' })).status, 200);
      if (change === 500) await control.apply(service('s-x'), { kind: 'Route', name: 'x', service: 's-x' });
    }
    await until(async () => {
      const { proxies } = await control.status();
      const { sent, accepted } = proxies.find(({ node }) => node === 'gateway')!;
      return sent === accepted && (await (await fetch(`${gateway.admin}/upstreams`)).text()).includes('10.9.3.232:80');
    });
    const grown = (resident(control) - before) / 2 ** 20;
    // A snapshot has 300 KB: had each been kept for each reader it would be gigabytes.
    assert.ok(grown < 250, `it has grown by ${grown.toFixed(0)} MiB`);
    // One that reads again gets what is newest.
    let text = '';
    sockets[0]!.setEncoding('utf8').on('data', (data: string) => (text += data)).resume();
    await until(() => text.includes('10.9.3.232:80'));
    const snapshots = text.match(/^event: snapshot$/gm)!.length;
    assert.ok(snapshots < 50, `${snapshots} snapshots were kept for it`);
  });

  test('a proxy is told nothing when it comes back with the newest, and the metrics count what was sent', async (context) => {
    const control = await plane(context, { resources: [service('orders', '127.0.0.1:1')] });
    const open = async (has?: string): Promise<string> => {
      const abort = new AbortController();
      const response = await fetch(`${control.url}/v1/proxies/p/stream?kind=sidecar&identity=true`, { signal: abort.signal, headers: has === undefined ? {} : { 'last-event-id': has } });
      assert.equal(response.status, 200);
      if (has !== undefined) {
        await until(async () => (await control.status()).proxies[0]!.accepted === has);
        abort.abort();
        return '';
      }
      const { value } = (await response.body!.getReader().read()) as { value: Uint8Array };
      abort.abort();
      return Buffer.from(value).toString();
    };
    const version = /^id: (.+)$/m.exec(await open())![1]!;
    assert.equal(await control.metric('control_plane_snapshots_sent_total'), 1);
    await open(version);
    assert.equal(await control.metric('control_plane_snapshots_sent_total'), 1);
    assert.ok((await control.metric('control_plane_snapshot_bytes_total')) > 100);
    assert.ok((await control.metric('control_plane_compile_seconds_count')) >= 1);
    const { status } = await control.api('GET', '/v1/proxies/p/stream?kind=butler');
    assert.equal(status, 422);
  });

  test('a change is measured until each proxy has accepted it', async (context) => {
    const control = await plane(context, { resources: [service('orders', '127.0.0.1:1'), { kind: 'Route', name: 'r', service: 'orders' }] });
    await new Mesh(context, control.url).gateway();
    await control.settled();
    await control.apply(service('orders', '127.0.0.1:2'));
    await control.settled();
    assert.equal(await control.metric('control_plane_push_seconds_count'), 1);
    assert.equal(await control.metric('control_plane_proxies_connected'), 1);
  });
});

describe('several control planes', () => {
  test('a proxy takes another when its own is gone, for its stream and its registration', async (context) => {
    const resources = [service('orders'), { kind: 'Route', name: 'r', service: 'orders' }];
    const [one, two] = [await plane(context, { resources }), await plane(context, { resources })];
    const mesh = new Mesh(context, [`http://127.0.0.1:${await refusedPort()}`, one.url, two.url]);
    await mesh.sidecar('orders', 'orders-1');
    const isWith = async (candidate: Plane): Promise<boolean> => (await candidate.status()).proxies.some(({ connected }) => connected) && (await candidate.instances()).length === 1;
    await until(async () => (await isWith(one)) || (await isWith(two)));
    const [first, second] = (await isWith(one)) ? [one, two] : [two, one];
    await first.kill();
    await until(() => isWith(second));
  });
});

describe('https', () => {
  test('the control plane’s certificate is verified, and the proxy shows its own', async (context) => {
    const control = await plane(context, { resources: [service('orders')] });
    const [authority, stranger] = [await TestAuthority.create(), await TestAuthority.create()];
    context.after(() => [authority, stranger].forEach((one) => one.remove()));
    const [server, own] = [await authority.issue('control-plane', { ip: ['127.0.0.1'] }), await authority.issue('orders', { uri: ['spiffe://mesh.test/ns/default/sa/gateway'] })];
    const callers = new Set<string>();
    const front = createServer({ cert: readFileSync(server.cert), key: readFileSync(server.key), ca: readFileSync(authority.ca), requestCert: true, rejectUnauthorized: true }, (socket) => {
      callers.add(String(socket.getPeerCertificate().subject.CN));
      const far = connect(control.port, '127.0.0.1');
      socket.on('error', () => far.destroy()).on('close', () => far.destroy());
      far.on('error', () => socket.destroy()).on('close', () => socket.destroy());
      socket.pipe(far).pipe(socket);
    }).listen(0, '127.0.0.1');
    context.after(() => front.close());
    await once(front, 'listening');
    const url = `https://127.0.0.1:${(front.address() as AddressInfo).port}`;
    const identity = { ...own, bundle: authority.ca };
    const mesh = new Mesh(context, url);
    const refused = await mesh.gateway({ identity }, { node: 'strict', ca: stranger.ca });
    const { err } = (await refused.process.logged('the control plane cannot be reached; the configuration stays as it is')) as { err: { message: string } };
    assert.match(JSON.stringify(err), /certificate|fetch failed/);
    await mesh.gateway({ identity }, { node: 'trusting', ca: authority.ca });
    const { proxies } = await control.settled();
    assert.deepEqual(proxies.map(({ node, connected }) => [node, connected]), [['trusting', true]]);
    assert.deepEqual([...callers], ['orders']);
  });
});

describe('the snapshot on disk', () => {
  const resources = [service('orders', '127.0.0.1:1'), { kind: 'Route', name: 'r', service: 'orders' }];

  test('is for its owner’s eyes, is of one proxy, and a proxy starts from it while the control plane hangs', async (context) => {
    const control = await plane(context, { resources });
    const mesh = new Mesh(context, control.url);
    const snapshotFile = join(mesh.directory, 'snapshot.json');
    const gateway = await mesh.gateway({}, { snapshotFile });
    await until(() => existsSync(snapshotFile));
    assert.equal(statSync(snapshotFile).mode & 0o777, 0o600);
    assert.deepEqual(Object.keys(JSON.parse(readFileSync(snapshotFile, 'utf8')) as object).sort(), ['config', 'kind', 'node', 'version']);
    await gateway.process.stop();
    control.process.child.kill('SIGSTOP');
    const upstreams = async ({ admin }: { admin: string }): Promise<unknown[]> => (await (await fetch(`${admin}/upstreams`)).json()) as unknown[];
    assert.equal((await upstreams(await mesh.gateway({}, { snapshotFile }))).length, 1, 'hanging or not');
    control.process.child.kill('SIGCONT');
    await control.kill();
    const another = await mesh.gateway({}, { snapshotFile, node: 'another' });
    await another.process.logged('the snapshot on disk cannot be used');
    assert.equal((await upstreams(another)).length, 0);
  });

  for (const [what, text] of [['text', 'no JSON'], ['half of it', '{"version":"x","config":{"routes":[{"upstream":"or'], ['another document', '[1,2]'], ['nothing', '']] as const) {
    test(`is left out with a warning when it holds ${what}`, async (context) => {
      const mesh = new Mesh(context, `http://127.0.0.1:${await refusedPort()}`);
      const snapshotFile = join(mesh.directory, 'snapshot.json');
      writeFileSync(snapshotFile, text);
      const gateway = await mesh.gateway({}, { snapshotFile });
      await gateway.process.logged('the snapshot on disk cannot be used');
    });
  }
});

test('an instance is registered with the name in its certificate, and callers get it that have one too', async (context) => {
  const control = await plane(context, { resources: [service('orders'), service('web')] });
  const mesh = new Mesh(context, control.url);
  const name = 'spiffe://shop.internal/ns/default/sa/orders';
  const files = await selfSigned(mesh.directory, name);
  const { process, port } = await mesh.sidecar('orders', 'orders-1', {}, undefined, { identity: { cert: files.cert, key: files.key, bundle: files.cert } });
  assert.equal((await process.logged('registered'))['identity'], name);
  const { body } = await control.api('GET', '/v1/registry');
  assert.equal((body as { instances: { identity: string }[] }).instances[0]!.identity, name);
  const seen = async (identity: boolean): Promise<unknown> => {
    const abort = new AbortController();
    const response = await fetch(`${control.url}/v1/proxies/web-${identity}/stream?kind=sidecar&service=web&identity=${identity}`, { signal: abort.signal });
    const { value } = (await response.body!.getReader().read()) as { value: Uint8Array };
    abort.abort();
    const { config } = JSON.parse(Buffer.from(value).toString().split('\n')[2]!.slice('data: '.length)) as { config: { upstreams: { orders: { endpoints: unknown } } } };
    return config.upstreams.orders.endpoints;
  };
  assert.deepEqual([await seen(true), await seen(false)], [[{ address: `127.0.0.1:${port}`, identity: name }], [`127.0.0.1:${port}`]]);
  assert.equal((await control.api('PUT', '/v1/registry/orders/two', { address: '127.0.0.1:1', ttl: '10s', identity: 'https://orders' })).status, 422);
});

async function selfSigned(directory: string, name: string): Promise<{ cert: string; key: string }> {
  const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const made = await x509.X509CertificateGenerator.createSelfSigned({ serialNumber: '01', name: 'CN=orders', keys, signingAlgorithm: algorithm, extensions: [new x509.SubjectAlternativeNameExtension([{ type: 'url', value: name }])] });
  const files = { cert: join(directory, 'orders.crt'), key: join(directory, 'orders.key') };
  writeFileSync(files.cert, made.toString('pem'));
  writeFileSync(files.key, x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY'));
  return files;
}
