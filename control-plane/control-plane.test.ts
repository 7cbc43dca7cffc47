import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:net';
import { after, describe, test } from 'node:test';
import { httpOrigin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';
import { Plane } from '../tests/support/running-mesh.js';

const listen = { host: '127.0.0.1', port: 0 };
const directory = mkdtempSync(join(tmpdir(), 'control-plane-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** What the API answers with, taken together: each test asserts the part it asks for. */
interface Answer {
  readonly items: readonly { readonly name: string }[];
  readonly instances: readonly { readonly instance: string }[];
  readonly problems: readonly { readonly path: string; readonly message: string }[];
  readonly proxies: readonly { readonly node: string; readonly sent: string; readonly accepted: string; readonly rejected?: { readonly reason: string } }[];
}

interface ControlPlane extends Pick<Plane, 'process' | 'url' | 'port'> {
  readonly api: (method: string, path: string, body?: object) => Promise<{ status: number; body: Answer }>;
}

async function startControlPlane(config: object = {}, port?: number): Promise<ControlPlane> {
  const plane = await Plane.start(config, port);
  const { process, url } = plane;
  return {
    process,
    url,
    port: plane.port,
    async api(method, path, asked) {
      const { status, body = {} } = await plane.api(method, path, asked);
      return { status, body: body as Answer };
    },
  };
}

async function startGateway(url: string, extra: object = {}): Promise<{ process: TestProcess; url: string }> {
  const process = new TestProcess('gateway/main.js', { listen, admin: listen, controlPlane: { url, node: 'gateway', ...extra } });
  return { process, url: `http://127.0.0.1:${portIn(await process.logged('ready'), 'listen')}` };
}

const service = (name: string, ...endpoints: string[]): object => ({ kind: 'Service', name, ...(endpoints.length > 0 && { endpoints }) });

describe('the control plane and its proxies', () => {
  test('a route goes live on every gateway, and an upstream that is gone stays configured', async () => {
    const origin = await httpOrigin((_request, response) => response.end('hello'));
    const plane = await startControlPlane();
    const gateway = await startGateway(plane.url);
    assert.equal((await fetch(gateway.url)).status, 404);
    await plane.api('POST', '/v1/apply', [service('orders', `127.0.0.1:${origin.port}`), { kind: 'Route', name: 'all', service: 'orders' }]);
    const { status, body } = await plane.api('GET', '/v1/status?settled=true');
    assert.equal(status, 200);
    assert.equal(body.proxies[0]!.accepted, body.proxies[0]!.sent);
    assert.equal(await (await fetch(gateway.url)).text(), 'hello');
    await gateway.process.stop();
    await plane.process.stop();
    await origin.close();
  });

  test('one line moves a policy from the gateway to the sidecar', async () => {
    const origin = await httpOrigin((_request, response) => response.end('hello'));
    const plane = await startControlPlane({ resources: [service('orders'), { kind: 'Route', name: 'all', service: 'orders' }] });
    const gateway = await startGateway(plane.url);
    const sidecar = new TestProcess('sidecar/main.js', { service: 'orders', inbound: { listen, app: `127.0.0.1:${origin.port}` }, admin: listen, controlPlane: { url: plane.url, node: 'orders-1' } });
    const inbound = portIn(await sidecar.logged('ready'), 'inbound');
    await plane.api('PUT', '/v1/registry/orders/orders-1', { address: `127.0.0.1:${inbound}`, ttl: '60s' });
    const place = async (placement: string): Promise<[edge: string | null, sidecar: string | null]> => {
      await plane.api('PUT', '/v1/policies/quota', { placement, target: { services: ['orders'] }, spec: { rateLimit: { max: 100, timeWindow: '60s' } } });
      assert.equal((await plane.api('GET', '/v1/status?settled=true')).status, 200);
      return [(await fetch(gateway.url)).headers.get('ratelimit'), (await fetch(`http://127.0.0.1:${inbound}`)).headers.get('ratelimit')];
    };
    // The field that the sidecar writes passes the gateway, which replaces it when it counts itself.
    const [atEdge, besideAtEdge] = await place('ambassador');
    assert.deepEqual([atEdge !== null, besideAtEdge], [true, null]);
    const [, beside] = await place('sidecar');
    assert.notEqual(beside, null);
    assert.deepEqual(await place('none'), [null, null]);
    await Promise.all([gateway.process.stop(), sidecar.stop(), plane.process.stop(), origin.close()]);
  });

  test('without the control plane a gateway serves on, starts from its last snapshot, and comes back', async () => {
    const origin = await httpOrigin((_request, response) => response.end('hello'));
    const snapshotFile = join(directory, 'gateway.snapshot.json');
    const resources = [service('orders', `127.0.0.1:${origin.port}`), { kind: 'Route', name: 'all', service: 'orders' }];
    const plane = await startControlPlane({ resources });
    const first = await startGateway(plane.url, { snapshotFile });
    assert.equal((await fetch(first.url)).status, 200);
    plane.process.child.kill('SIGKILL');
    await plane.process.exited;
    assert.equal((await fetch(first.url)).status, 200);
    await first.process.stop();
    const second = await startGateway(plane.url, { snapshotFile });
    assert.equal((await fetch(second.url)).status, 200, 'started from disk');
    const back = await startControlPlane({ resources }, plane.port);
    await second.process.logged('connected to the control plane');
    await second.process.stop();
    await back.process.stop();
    await origin.close();
  });

  test('a damaged snapshot on disk is left out, with a warning', async () => {
    const snapshotFile = join(directory, 'damaged.json');
    writeFileSync(snapshotFile, '{"version": "x", "config": {"routes": 7');
    const plane = await startControlPlane();
    const gateway = await startGateway(plane.url, { snapshotFile });
    await gateway.process.logged('the snapshot on disk cannot be used');
    assert.equal((await fetch(gateway.url)).status, 404);
    await gateway.process.stop();
    await plane.process.stop();
  });

  test('a snapshot that a proxy cannot use is rejected with the reason, and the one before stays', async () => {
    const origin = await httpOrigin((_request, response) => response.end('hello'));
    const plane = await startControlPlane({ resources: [service('orders', `127.0.0.1:${origin.port}`), { kind: 'Route', name: 'all', service: 'orders' }] });
    const gateway = await startGateway(plane.url);
    // A file that only the gateway can know is not there.
    await plane.api('PUT', '/v1/policies/tokens', { placement: 'ambassador', target: { services: ['orders'] }, spec: { jwt: { issuer: 'i', audience: 'a', jwks: '/nothing/here.json' } } });
    const { body } = await plane.api('GET', '/v1/status?settled=true');
    assert.match(body.proxies[0]!.rejected!.reason, /ENOENT/);
    assert.equal((await fetch(gateway.url)).status, 200);
    await Promise.all([gateway.process.stop(), plane.process.stop(), origin.close()]);
  });
});

describe('resources', () => {
  test('what is wrong is named with its path, and nothing of it is applied', async () => {
    const plane = await startControlPlane();
    const quota = (name: string): object => ({ kind: 'Policy', name, placement: 'both', target: { services: ['orders'] }, spec: { rateLimit: { max: 1 } } });
    const cases: readonly (readonly [documents: object[], problems: RegExp[]])[] = [
      [[{ kind: 'Policy', name: 'p', placement: 'everywhere', target: { services: [] }, spec: { rateLimit: { max: -1 } } }], [/^\[0\]\.placement/, /^\[0\]\.target\.services/, /^\[0\]\.spec\.rateLimit\.max/]],
      [[{ kind: 'Servise', name: 'x' }], [/kind/]],
      [[{ kind: 'Route', name: 'r', service: 'nowhere' }], [/^Route\/r\.service: there is no service "nowhere"/]],
      [[service('orders'), quota('one'), quota('two')], [/^Policy\/two\.spec\.rateLimit: Policy\/one sets rateLimit for service "orders" at the ambassador too/]],
      [[service('orders'), { kind: 'Policy', name: 'p', placement: 'both', target: { services: ['orders'] }, spec: {} }], [/at least one of/]],
    ];
    for (const [documents, problems] of cases) {
      const { status, body } = await plane.api('POST', '/v1/apply', documents);
      assert.equal(status, 422);
      const texts = body.problems.map(({ path, message }) => `${path}: ${message}`);
      for (const problem of problems) assert.ok(texts.some((text) => problem.test(text)), `${String(problem)} in ${texts.join('\n')}`);
    }
    assert.deepEqual((await plane.api('GET', '/v1/services')).body, { version: 0, items: [] });
    await plane.process.stop();
  });

  test('a dry run checks and changes nothing', async () => {
    const plane = await startControlPlane();
    assert.deepEqual(await plane.api('POST', '/v1/apply?dryRun=true', [service('orders')]), { status: 200, body: { version: 0, dryRun: true, changes: [{ kind: 'Service', name: 'orders', action: 'created', after: service('orders') }] } });
    assert.deepEqual((await plane.api('GET', '/v1/services')).body.items, []);
    await plane.process.stop();
  });

  test('a service that something refers to is not deleted', async () => {
    const plane = await startControlPlane({ resources: [service('orders'), { kind: 'Route', name: 'all', service: 'orders' }] });
    assert.equal((await plane.api('DELETE', '/v1/services/orders')).status, 422);
    assert.equal((await plane.api('DELETE', '/v1/routes/all')).status, 200);
    assert.equal((await plane.api('DELETE', '/v1/services/orders')).status, 200);
    assert.equal((await plane.api('DELETE', '/v1/services/orders')).status, 404);
    await plane.process.stop();
  });

  test('kill -9 in the middle of writes loses nothing that was acknowledged', async () => {
    const dataDir = join(directory, 'store');
    let acknowledged = 0;
    for (let round = 0; round < 8; round++) {
      const plane = await startControlPlane({ dataDir });
      const { body } = await plane.api('GET', '/v1/services');
      const names = body.items.map(({ name }) => name);
      for (let index = 1; index <= acknowledged; index++) assert.ok(names.includes(`s${index}`), `s${index} was acknowledged and is gone`);
      const killed = new Promise<void>((resolve) => setImmediate(() => setTimeout(() => resolve(void plane.process.child.kill('SIGKILL')), 30 + round * 15)));
      const write = async (): Promise<void> => {
        for (;;) {
          const { status } = await plane.api('PUT', `/v1/services/s${acknowledged + 1}`, {});
          assert.equal(status, 200);
          acknowledged++;
        }
      };
      await write().catch(() => {});
      await killed;
      await plane.process.exited;
      if (acknowledged > 0) JSON.parse(readFileSync(join(dataDir, 'resources.json'), 'utf8'));
    }
    assert.ok(acknowledged > 8, `only ${acknowledged} writes`);
  });
});

describe('the registry', () => {
  test('an instance that does not renew is gone when its lease ends, and one that restarts the control plane is not', async () => {
    const dataDir = join(directory, 'registry');
    const plane = await startControlPlane({ dataDir });
    await plane.api('PUT', '/v1/registry/orders/short', { address: '127.0.0.1:1', ttl: '150ms' });
    await plane.api('PUT', '/v1/registry/orders/long', { address: '127.0.0.1:2', ttl: '60s' });
    const names = async (api: typeof plane.api): Promise<string[]> => (await api('GET', '/v1/registry')).body.instances.map(({ instance }) => instance);
    assert.deepEqual(await names(plane.api), ['short', 'long']);
    while ((await names(plane.api)).includes('short'));
    await plane.process.stop();
    const again = await startControlPlane({ dataDir });
    assert.deepEqual(await names(again.api), ['long']);
    assert.equal((await again.api('DELETE', '/v1/registry/orders/long')).status, 204);
    assert.deepEqual(await names(again.api), []);
    await again.process.stop();
  });

  test('a wrong registration is refused', async () => {
    const plane = await startControlPlane();
    for (const body of [{ address: 'x', ttl: '1s' }, { address: '127.0.0.1:1', ttl: '1ms' }, { address: '127.0.0.1:1' }]) {
      assert.equal((await plane.api('PUT', '/v1/registry/orders/a', body)).status, 422);
    }
    await plane.process.stop();
  });
});

describe('streams', () => {
  test('a reader that takes nothing holds nobody up, and gets the newest when it reads again', async () => {
    const plane = await startControlPlane();
    const slow = connect(plane.port, '127.0.0.1');
    slow.pause();
    slow.write('GET /v1/proxies/slow/stream?kind=sidecar HTTP/1.1\r\nHost: x\r\n\r\n');
    const gateway = await startGateway(plane.url);
    const many = Array.from({ length: 1_500 }, (_, index) => service(`service-${index}`, ...Array.from({ length: 40 }, (__, port) => `10.0.0.1:${1_000 + port}`)));
    assert.equal((await plane.api('POST', '/v1/apply', many)).status, 200);
    for (let round = 0; round < 30; round++) {
      const { status } = await plane.api('POST', '/v1/apply', [service('last', `10.0.0.2:${round + 1}`), { kind: 'Route', name: 'r', service: 'last' }]);
      assert.equal(status, 200);
    }
    const isDone = async (): Promise<boolean> => {
      const { body } = await plane.api('GET', '/v1/status');
      const proxy = body.proxies.find(({ node }) => node === 'gateway')!;
      return proxy.sent === proxy.accepted;
    };
    while (!(await isDone()));
    let received = '';
    slow.setEncoding('utf8').on('data', (text: string) => (received += text));
    slow.resume();
    while (!received.includes('"10.0.0.2:30"')) await new Promise((resolve) => slow.once('data', resolve));
    const snapshots = received.match(/event: snapshot/g)!.length;
    assert.ok(snapshots < 30, `${snapshots} snapshots were queued for a reader that did not read`);
    slow.destroy();
    await Promise.all([gateway.process.stop(), plane.process.stop()]);
  });
});

test('a directory in which another control plane is at work is refused, and taken over once that was killed', async () => {
  const dataDir = join(directory, 'shared');
  const first = new TestProcess('control-plane/main.js', { listen, dataDir });
  await first.logged('ready');
  const { code, stderr } = await new TestProcess('control-plane/main.js', { listen, dataDir }).exited;
  assert.equal(code, 69);
  assert.match(stderr, /another control plane is at work in .*shared: expected a directory for each/);
  first.child.kill('SIGKILL');
  await first.exited;
  const next = new TestProcess('control-plane/main.js', { listen, dataDir });
  await next.logged('ready');
  await next.stop();
});

test('a service that has as many instances as the registry takes is told so, and others register', async () => {
  const dataDir = join(directory, 'full');
  mkdirSync(dataDir);
  const job = Array.from({ length: 5_000 }, (_, index) => ({ service: 'job', instance: `job-${index}`, endpoint: '127.0.0.1:1' }));
  writeFileSync(join(dataDir, 'registry.json'), JSON.stringify(job));
  const plane = await startControlPlane({ dataDir, leaseGrace: '60s' });
  const put = (path: string): Promise<Response> => fetch(`${plane.url}/v1/registry/${path}`, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ address: '127.0.0.1:2', ttl: '60s' }) });
  const refused = await put('job/one-more');
  assert.deepEqual([refused.status, refused.headers.get('retry-after'), ((await refused.json()) as { code: string }).code], [503, '10', 'registry_full']);
  assert.deepEqual([(await put('job/job-1')).status, (await put('payments/one')).status], [200, 200]);
  await plane.process.stop();
});
