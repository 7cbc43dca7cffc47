import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test, type TestContext } from 'node:test';
import { Agent, request } from 'undici';
import { startEtcd, withEtcd, type TestEtcd } from '../tests/support/etcd.js';
import { httpOrigin } from '../tests/support/origin.js';
import { portIn, TestProcess } from '../tests/support/process.js';
import { until } from '../tests/support/until.js';

const listen = { host: '127.0.0.1', port: 0 };

interface ControlPlane {
  readonly process: TestProcess;
  readonly url: string;
  readonly api: (method: string, path: string, body?: object) => Promise<{ status: number; body: Record<string, unknown> }>;
  readonly metric: (name: string) => Promise<number>;
}

function launch(context: TestContext, etcd: TestEtcd, store: object = {}, config: object = {}): TestProcess {
  const process = new TestProcess('control-plane/main.js', { listen, store: { kind: 'etcd', endpoints: etcd.endpoints, prefix: '/mesh', timeout: '1s', sessionTtl: '2s', ...store }, ...config });
  context.after(async () => {
    process.child.kill('SIGKILL');
    await process.exited;
  });
  return process;
}

async function running(process: TestProcess): Promise<ControlPlane> {
  const url = `http://127.0.0.1:${portIn(await process.logged('ready'), 'listen')}`;
  return {
    process, url,
    async api(method, path, body) {
      const response = await fetch(url + path, { method, ...(body && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }) });
      const text = await response.text();
      return { status: response.status, body: JSON.parse(text === '' ? '{}' : text) as Record<string, unknown> };
    },
    async metric(name) {
      const text = await (await fetch(`${url}/metrics`)).text();
      return Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
    },
  };
}

const start = (context: TestContext, etcd: TestEtcd, store: object = {}, config: object = {}): Promise<ControlPlane> => running(launch(context, etcd, store, config));

async function startGateway(context: TestContext, plane: ControlPlane): Promise<string> {
  const process = new TestProcess('gateway/main.js', { listen, admin: listen, controlPlane: { url: plane.url, node: 'gateway' } });
  context.after(async () => {
    process.child.kill('SIGKILL');
    await process.exited;
  });
  return `http://127.0.0.1:${portIn(await process.logged('ready'), 'listen')}`;
}

const answers = async (url: string, text: string): Promise<boolean> => (await (await fetch(url)).text()) === text;
const orders = [{ kind: 'Service', name: 'orders' }, { kind: 'Route', name: 'all', service: 'orders' }];

test('what is written and registered at one control plane reaches the proxies of the other, and when one is killed the other goes on', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const [one, two] = await Promise.all(['one', 'two'].map((name) => httpOrigin((_request, response) => response.end(name))));
  context.after(() => Promise.all([one!.close(), two!.close()]));
  const a = await start(context, etcd, { advertise: 'http://control-plane-a:9400' });
  const b = await start(context, etcd);
  await until(async () => (await a.metric('control_plane_leader')) === 1);
  const gateway = await startGateway(context, b);
  assert.equal((await a.api('POST', '/v1/apply', orders)).status, 200);
  assert.equal((await a.api('PUT', '/v1/registry/orders/one', { address: `127.0.0.1:${one!.port}`, ttl: '5s' })).status, 200);
  await until(() => answers(gateway, 'one'));

  a.process.child.kill('SIGKILL');
  await a.process.exited;
  // The sidecar renews at the other, a few times over, and its instance is there all the while.
  for (let renewal = 0; renewal < 8; renewal++) {
    assert.equal((await b.api('PUT', '/v1/registry/orders/one', { address: `127.0.0.1:${one!.port}`, ttl: '5s' })).status, 200);
    for (let request = 0; request < 20; request++) assert.ok(await answers(gateway, 'one'));
    await new Promise((resolve) => setTimeout(resolve, 800));
  }
  await until(async () => (await b.metric('control_plane_leader')) === 1);
  await b.process.logged('this control plane leads');
  assert.equal((await b.api('PUT', '/v1/services/orders', { endpoints: [`127.0.0.1:${two!.port}`] })).status, 200);
  await until(() => answers(gateway, 'two'));
  const late = await start(context, etcd);
  assert.deepEqual((await late.api('GET', '/v1/services')).body, (await b.api('GET', '/v1/services')).body);
});

test('writers at two control planes at the same time lose nothing', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const planes = await Promise.all([start(context, etcd), start(context, etcd)]);
  const names = Array.from({ length: 40 }, (_, index) => `s${index}`);
  // On a machine that is busy etcd may take longer than a change waits for it: 503 says to ask again.
  const put = async (name: string, index: number, triesLeft = 10): Promise<{ status: number; version: unknown; isFirst: boolean }> => {
    const { status, body } = await planes[index % 2]!.api('PUT', `/v1/services/${name}`, {});
    return status === 503 && triesLeft > 0 ? { ...(await put(name, index, triesLeft - 1)), isFirst: false } : { status, version: body['version'], isFirst: true };
  };
  const answered = await Promise.all(names.map((name, index) => put(name, index)));
  assert.deepEqual(new Set(answered.map(({ status }) => status)), new Set([200]));
  const first = answered.filter(({ isFirst }) => isFirst);
  assert.equal(new Set(first.map(({ version }) => version)).size, first.length);
  for (const { api } of planes) await until(async () => ((await api('GET', '/v1/services')).body['items'] as unknown[]).length === names.length);
});

test('etcd is killed -9 and comes back: reading and proxies go on, changes are refused meanwhile, no instance is dropped', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const origin = await httpOrigin((_request, response) => response.end('hello'));
  context.after(() => origin.close());
  const planes = await Promise.all([start(context, etcd), start(context, etcd)]);
  const [a, b] = planes;
  await a.api('POST', '/v1/apply', orders);
  const registering = async (): Promise<boolean> => (await Promise.all(Array.from({ length: 10 }, (_, index) => planes[index % 2]!.api('PUT', `/v1/registry/orders/i${index}`, { address: `127.0.0.1:${origin.port}`, labels: { index: String(index) }, ttl: '2s' })))).every(({ status }) => status === 200);
  const seen = async ({ api }: ControlPlane): Promise<number> => ((await api('GET', '/v1/registry')).body['instances'] as unknown[]).length;
  const allSeen = async (): Promise<boolean> => (await seen(a)) === 10 && (await seen(b)) === 10;
  const gateway = await startGateway(context, b);
  // The leases are short, and on a busy machine one may be over before all is as it should be.
  await until(async () => (await registering()) && (await allSeen()) && (await answers(gateway, 'hello')));

  await etcd.kill();
  const killedAt = performance.now();
  while (performance.now() - killedAt < 4_000) {
    assert.equal(await registering(), false);
    assert.ok(await allSeen());
    assert.ok(await answers(gateway, 'hello'));
  }
  const { status, body } = await a.api('PUT', '/v1/services/users', {});
  assert.deepEqual([status, body['code']], [503, 'store_unavailable']);
  assert.doesNotMatch(JSON.stringify(body), /127\.0\.0\.1/);
  assert.equal((await a.api('GET', '/v1/services/orders')).status, 200);
  assert.equal((await a.api('GET', '/readyz')).status, 200, 'proxies need it');
  assert.deepEqual([await a.metric('control_plane_store_available'), await a.metric('control_plane_leader')], [0, 0]);
  await a.process.logged('etcd cannot be reached: snapshots stay as they are, and changes are refused');

  etcd.run();
  // Several lengths of a lease, renewed all the while.
  let renewals = 0;
  while (renewals < 12) {
    if (await registering()) renewals++;
    assert.ok(await allSeen());
    assert.ok(await answers(gateway, 'hello'));
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  await until(async () => (await a.metric('control_plane_store_available')) === 1);
  assert.equal((await a.api('PUT', '/v1/services/users', {})).status, 200);
});

test('without etcd a control plane waits and says so, ends when it is told to, and starts when etcd is there', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  await etcd.kill();
  const [waiting, ended] = [launch(context, etcd, {}, { resources: orders }), launch(context, etcd)];
  await Promise.all([waiting, ended].map((process) => process.logged('etcd cannot be reached: snapshots stay as they are, and changes are refused')));
  const { code } = await ended.stop();
  assert.equal(code, 0);
  assert.doesNotMatch(waiting.stderr, /"msg":"ready"/);
  etcd.run();
  const plane = await running(waiting);
  assert.deepEqual((await plane.api('GET', '/v1/services')).body['version'], 1);
  assert.equal((await plane.process.stop()).code, 0);
});

test('a control plane that is drained hands leadership on at once', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const a = await start(context, etcd, { sessionTtl: '10m' });
  await until(async () => (await a.metric('control_plane_leader')) === 1);
  const b = await start(context, etcd, { sessionTtl: '10m' });
  assert.equal(await b.metric('control_plane_leader'), 0);
  assert.equal((await a.process.stop()).code, 0);
  await b.process.logged('this control plane leads');
});

test('a reader of a stream hears of what is written elsewhere within a moment', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const [a, b] = await Promise.all([start(context, etcd), start(context, etcd)]);
  await a.api('POST', '/v1/apply', orders);
  const reader = connect(Number(new URL(b.url).port), '127.0.0.1');
  context.after(() => reader.destroy());
  let text = '';
  reader.on('data', (data: Buffer) => (text += data.toString()));
  reader.write('GET /v1/proxies/reader/stream?kind=gateway HTTP/1.1\r\nHost: x\r\n\r\n');
  await until(async () => text.includes('event: snapshot'));
  const times: number[] = [];
  for (let round = 1; round <= 50; round++) {
    const address = `10.0.0.1:${round}`;
    const startedAt = performance.now();
    await a.api('PUT', '/v1/services/orders', { endpoints: [address] });
    while (!text.includes(`"${address}"`)) await new Promise((resolve) => setImmediate(resolve));
    times.push(performance.now() - startedAt);
  }
  const median = times.sort((x, y) => x - y)[25]!;
  context.diagnostic(`written at one, read at the other: median ${median.toFixed(1)} ms, with the writing`);
  assert.ok(median < 500, `${median}`);
});

for (const [what, store, problem] of [
  ['no endpoints', { endpoints: [] }, /store\.endpoints: /],
  ['an endpoint without a scheme', { endpoints: ['etcd:2379'] }, /store\.endpoints\[0\]: expected an address such as http:\/\/etcd-1:2379/],
  ['http and https', { endpoints: ['http://a:1', 'https://b:1'] }, /store\.endpoints: expected http or https for all of them/],
  ['tls for http', { tls: { ca: '/x' } }, /store\.tls: is for endpoints with https/],
  ['a certificate without a key', { endpoints: ['https://a:1'], tls: { ca: '/x', cert: '/y' } }, /store\.tls: expected cert and key, or neither/],
  ['a user without a password', { username: 'x' }, /store: expected username and passwordFile, or neither/],
  ['a session that is too short', { sessionTtl: '1s' }, /store\.sessionTtl: expected 2s to 10m/],
  ['an unknown key', { endpoint: 'x' }, /store\.endpoint: unknown key/],
  ['the old name of history.revisions', { historyLimit: 500 }, /store\.historyLimit: is history\.revisions now/],
] as const) {
  test(`a store with ${what} is refused before anything starts`, async () => {
    const { code, stderr } = await new TestProcess('control-plane/main.js', { listen, store: { kind: 'etcd', endpoints: ['http://127.0.0.1:2379'], ...store } }).exited;
    assert.equal(code, 64);
    assert.match(stderr, problem);
  });
}

test('with a certificate authority, one that listens on all addresses says where the others reach it', async () => {
  const { code, stderr } = await new TestProcess('control-plane/main.js', { listen: { host: '0.0.0.0', port: 9400, allowPlaintext: true }, access: { tokens: [{ name: 'operator', role: 'write', token: '0123456789abcdef' }] }, store: { kind: 'etcd', endpoints: ['http://127.0.0.1:2379'] }, ca: { trustDomain: 'shop.internal' } }).exited;
  assert.equal(code, 64);
  assert.match(stderr, /store\.advertise: is needed with ca where listen\.host is 0\.0\.0\.0/);
});

test('control planes that serve https name that address by default: what one passes on to the leader arrives', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const token = '0123456789abcdef';
  const planes: { readonly port: number; readonly process: TestProcess }[] = [];
  for (let count = 0; count < 2; count++) {
    // Where it is reached is told before it listens: a port that was free a moment ago.
    const reserved = await httpOrigin(() => {});
    await reserved.close();
    const process = launch(context, etcd, {}, { listen: { host: '127.0.0.1', port: reserved.port }, access: { tokens: [{ name: 'operator', role: 'write', token }] }, ca: { trustDomain: 'shop.internal', serve: { names: ['127.0.0.1'] } } });
    await process.logged('ready');
    planes.push({ port: reserved.port, process });
  }
  for (const { port } of planes) {
    const agent = new Agent({ connect: { rejectUnauthorized: false } });
    context.after(() => agent.close());
    await until(async () => {
      const { statusCode, body } = await request(`https://127.0.0.1:${port}/v1/join-tokens`, { method: 'POST', dispatcher: agent, headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` }, body: '{"service":"orders"}' });
      await body.dump();
      return statusCode === 201;
    });
  }
});

test('the embedded store is named once', async () => {
  const { code, stderr } = await new TestProcess('control-plane/main.js', { listen, dataDir: '/x', store: { kind: 'embedded', directory: '/y' } }).exited;
  assert.equal(code, 64);
  assert.match(stderr, /store: expected store or dataDir, not both/);
});

for (const [what, history, problem] of [
  ['more revisions than etcd keeps', { revisions: 1_001 }, /history\.revisions: expected at most 1000 with etcd/],
  ['bytes', { bytes: '1MiB' }, /history\.bytes: is for the embedded store/],
] as const) {
  test(`history on etcd with ${what} is refused before anything starts`, async () => {
    const { code, stderr } = await new TestProcess('control-plane/main.js', { listen, store: { kind: 'etcd', endpoints: ['http://127.0.0.1:2379'] }, history }).exited;
    assert.equal(code, 64);
    assert.match(stderr, problem);
  });
}

test('history on etcd is as long as history.revisions says', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const { api } = await start(context, etcd, {}, { history: { revisions: 3 } });
  for (let port = 1; port <= 6; port++) assert.equal((await api('PUT', '/v1/services/orders', { endpoints: [`127.0.0.1:${port}`] })).status, 200);
  const { items } = (await api('GET', '/v1/history')).body as { items: { version: number }[] };
  assert.deepEqual(items.map(({ version }) => version), [6, 5, 4]);
});

test('of two writers with the same tag at two control planes exactly one wins, every time', withEtcd, async (context) => {
  const etcd = await startEtcd(context);
  const planes = await Promise.all([start(context, etcd), start(context, etcd)]);
  const put = (writer: number, round: number, tag: string): Promise<Response> =>
    fetch(`${planes[writer]!.url}/v1/services/orders`, { method: 'PUT', headers: { 'content-type': 'application/json', 'if-match': tag }, body: JSON.stringify({ endpoints: [`127.0.0.1:${round * 2 + writer + 1}`] }) });
  const created = await fetch(`${planes[0].url}/v1/services/orders`, { method: 'PUT', headers: { 'content-type': 'application/json', 'if-none-match': '*' }, body: '{}' });
  let tag = created.headers.get('etag')!;
  const wins = [0, 0];
  for (let round = 1; round <= 200; round++) {
    const answers = await Promise.all([0, 1].map((writer) => put(writer, round, tag)));
    const bodies = (await Promise.all(answers.map((answer) => answer.json()))) as { version?: number; code?: string; current?: { version: number; resource: { endpoints: string[] } } }[];
    assert.deepEqual(answers.map(({ status }) => status).sort(), [200, 412], `round ${round}: ${JSON.stringify(bodies)}`);
    const winner = answers.findIndex(({ status }) => status === 200);
    const { code, current } = bodies[1 - winner]!;
    // Whoever lost is told what won.
    assert.deepEqual([code, current!.version, current!.resource.endpoints], ['changed_meanwhile', bodies[winner]!.version, [`127.0.0.1:${round * 2 + winner + 1}`]]);
    wins[winner]!++;
    assert.notEqual(answers[winner]!.headers.get('etag'), tag);
    tag = answers[winner]!.headers.get('etag')!;
  }
  context.diagnostic(`won: ${wins.join(' and ')}`);
  assert.deepEqual((await planes[0].api('GET', '/v1/history')).body['version'], 201, 'nobody else has changed anything');
});
