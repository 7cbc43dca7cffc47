import assert from 'node:assert/strict';
import { Agent, request } from 'node:http';
import { get as getHttps } from 'node:https';
import { connect as connectTls } from 'node:tls';
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { TestAuthority } from '../../../tests/support/certificates.js';
import { httpOrigin, type Origin } from '../../../tests/support/origin.js';
import { portIn, TestProcess } from '../../../tests/support/process.js';
import { RawClient } from '../../../tests/support/raw-client.js';
import { until } from '../../../tests/support/until.js';

const listen = { host: '127.0.0.1', port: 0 };
const get = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';

interface Running {
  readonly process: TestProcess;
  readonly port: number;
  readonly url: string;
  readonly admin: (path: string) => Promise<string>;
  readonly config: Record<string, unknown>;
}

async function startGateway(config: Record<string, unknown>): Promise<Running> {
  const whole = { listen, admin: listen, workers: 2, ...config };
  const process = new TestProcess('gateway/main.js', whole);
  const ready = await process.logged('ready');
  const port = portIn(ready, 'listen');
  const admin = async (path: string): Promise<string> => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}${path}`)).text();
  return { process, port, url: `http://127.0.0.1:${port}`, admin, config: whole };
}

async function workerPids({ process }: Running, count = 2): Promise<number[]> {
  const lines = await Promise.all(Array.from({ length: count }, (_, index) => process.logged('a worker has started', index + 1)));
  return lines.map((line) => Number(line['workerPid']));
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Each its own connection, kept until it is closed. */
async function onConnections<T>(port: number, count: number, use: (client: RawClient) => Promise<T>): Promise<T[]> {
  const clients = await Promise.all(Array.from({ length: count }, () => RawClient.connect(port)));
  const results = await Promise.all(clients.map(use));
  clients.forEach((client) => client.socket.destroy());
  return results;
}

function sample(text: string, line: RegExp): number {
  return Number(line.exec(text)?.[1] ?? NaN);
}

describe('workers', () => {
  let origin: Origin;
  const upstreams = (): object => ({ origin: { endpoints: [`127.0.0.1:${origin.port}`] } });
  const directory = mkdtempSync(join(tmpdir(), 'workers-test-'));
  before(async () => {
    origin = await httpOrigin((_incoming, response) => response.end('hello'));
  });
  after(async () => {
    rmSync(directory, { recursive: true, force: true });
    await origin.close();
  });

  test('share one port, and are one proxy to whoever asks', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    await onConnections(gateway.port, 10, async (client) => {
      for (let answers = 1; answers <= 20; answers++) await client.send(get).until((text) => text.split('hello').length > answers);
    });
    // Connections go to the workers in turn; each has an upstream connection of its own.
    const lines = await gateway.process.accessLog(200);
    assert.equal(lines.filter(({ status }) => status === 200).length, 200);
    const metrics = await gateway.admin('/metrics');
    assert.equal(sample(metrics, /^http_server_request_duration_seconds_count\{.*http_response_status_code="200".*\} (\d+)$/m), 200);
    assert.equal(sample(metrics, /^proxy_upstream_attempts_total\{upstream="origin"\} (\d+)$/m), 200);
    const [upstream] = JSON.parse(await gateway.admin('/upstreams')) as { name: string; endpoints: { healthy: boolean; connections: number }[] }[];
    assert.equal(upstream!.endpoints[0]!.healthy, true);
    assert.ok(upstream!.endpoints[0]!.connections >= 2, 'both workers have connections');
    assert.deepEqual(JSON.parse(await gateway.admin('/readyz')), { ready: true, reasons: [] });
    const pids = await workerPids(gateway);
    assert.equal((await gateway.process.stop()).code, 0);
    assert.deepEqual(pids.map(isAlive), [false, false]);
  });

  test('what one that is gone has counted of an endpoint ends with the endpoint', async () => {
    const file = join(directory, 'endpoints.json');
    const find = (...hosts: string[]): void => writeFileSync(file, JSON.stringify(hosts.map((host) => `${host}:${origin.port}`)));
    find('127.0.0.1', '127.0.0.2');
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: { origin: { discovery: { file }, healthCheck: { path: '/', interval: '100ms' } } } });
    const isCounted = async (host: string): Promise<boolean> => (await gateway.admin('/metrics')).includes(`proxy_health_checks_total{upstream="origin",endpoint="${host}:${origin.port}"`);
    await until(() => isCounted('127.0.0.2'));
    process.kill((await workerPids(gateway))[0]!, 'SIGKILL');
    await workerPids(gateway, 3);
    assert.ok(await isCounted('127.0.0.2'));
    find('127.0.0.1');
    await until(async () => !(await isCounted('127.0.0.2')));
    assert.ok(await isCounted('127.0.0.1'));
    assert.equal((await gateway.process.stop()).code, 0);
  });

  test('a quota holds for all of them together', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin', rateLimit: { max: 25, timeWindow: '1h', key: 'ip' } }], upstreams: upstreams() });
    const answers = await onConnections(gateway.port, 10, async (client) => {
      for (let answers = 1; answers <= 5; answers++) await client.send(get).until((text) => text.split('HTTP/1.1 ').length > answers && /hello$|\}$/.test(text));
      return client.text.match(/HTTP\/1\.1 \d+/g)!;
    });
    const statuses = answers.flat().map((line) => Number(line.slice(9)));
    assert.equal(statuses.filter((status) => status === 200).length, 25);
    assert.equal(statuses.filter((status) => status === 429).length, 25);
    await gateway.process.stop();
  });

  for (const [failOpen, status] of [[true, 200], [false, 503]] as const) {
    test(`a request waits for the quota no longer than 500 ms while the front stands still: ${status} with failOpen ${failOpen}`, async (context) => {
      const gateway = await startGateway({ routes: [{ upstream: 'origin', rateLimit: { max: 9, failOpen } }], upstreams: upstreams() });
      const client = await RawClient.connect(gateway.port);
      await client.send(get).until((text) => text.endsWith('hello'));
      gateway.process.child.kill('SIGSTOP');
      context.after(() => gateway.process.child.kill('SIGCONT'));
      const askedAt = performance.now();
      const answers = await client.send(get).until((text) => text.split('HTTP/1.1 ').length > 2 && /hello$|\}$/.test(text));
      const tookMs = performance.now() - askedAt;
      assert.equal(Number(answers.split('HTTP/1.1 ')[2]!.slice(0, 3)), status);
      assert.ok(tookMs < 20_000, `${tookMs} ms`);
      gateway.process.child.kill('SIGCONT');
      client.close();
      await gateway.process.stop();
    });
  }

  test('a limit is shared out to the last, and one that is too small for that is warned of', async () => {
    const slow = await httpOrigin((_incoming, response) => response.write('hello'));
    const config = (maxRequests: number): Record<string, unknown> => ({ workers: 3, routes: [{ upstream: 'slow' }], upstreams: { slow: { endpoints: [`127.0.0.1:${slow.port}`], limits: { maxRequests } } } });
    const gateway = await startGateway(config(4));
    const clients = await Promise.all(Array.from({ length: 30 }, () => RawClient.connect(gateway.port)));
    const statuses = await Promise.all(clients.map(async (client) => (await client.send(get).until((text) => text.includes('\r\n\r\n'))).slice(9, 12)));
    assert.equal(statuses.filter((status) => status === '200').length, 4);
    assert.equal(statuses.filter((status) => status === '503').length, 26);
    assert.doesNotMatch(gateway.process.stderr, /limits are smaller/);
    gateway.process.reload({ ...gateway.config, ...config(2) });
    const { limits } = await gateway.process.logged('limits are smaller than the number of workers: each worker has one, which together is more');
    assert.deepEqual(limits, ['upstreams.slow.limits.maxRequests']);
    for (const client of clients) client.close();
    await slow.close();
    await gateway.process.stop();
  });

  test('one that crashes is replaced, while the other serves, and totals never go down', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    await onConnections(gateway.port, 10, (client) => client.send(get).until((text) => text.endsWith('hello')));
    const total = /^proxy_upstream_attempts_total\{upstream="origin"\} (\d+)$/m;
    assert.equal(sample(await gateway.admin('/metrics'), total), 10);
    const [victim] = await workerPids(gateway);
    process.kill(victim!, 'SIGKILL');
    await gateway.process.logged('a worker has exited; another takes its place');
    await onConnections(gateway.port, 10, (client) => client.send(get).until((text) => text.endsWith('hello')));
    const [, , replacement] = await workerPids(gateway, 3);
    assert.ok(isAlive(replacement!));
    const metrics = await gateway.admin('/metrics');
    assert.equal(sample(metrics, total), 20);
    assert.equal(sample(metrics, /^proxy_worker_exits_total (\d+)$/m), 1);
    assert.equal((await gateway.process.stop()).code, 0);
  });

  test('when all crash at once the ports stay open, and what comes meanwhile waits for the next', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams(), tcp: [{ name: 'db', listen, upstream: 'origin' }] });
    const db = portIn(await gateway.process.logged('ready'), 'db');
    for (const pid of await workerPids(gateway)) process.kill(pid, 'SIGKILL');
    await gateway.process.logged('a worker has exited; another takes its place', 2);
    for (const port of [gateway.port, db]) await onConnections(port, 5, (client) => client.send(get.replace('test', 'origin')).until((text) => text.endsWith('hello')));
    assert.equal((await gateway.process.stop()).code, 0);
  });

  test('a drain waits for no connection that waits for the next worker', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    for (const pid of await workerPids(gateway)) process.kill(pid, 'SIGKILL');
    await gateway.process.logged('a worker has exited; another takes its place', 2);
    const clients = await Promise.all([1, 2, 3].map(() => RawClient.connect(gateway.port)));
    const exited = gateway.process.stop();
    for (const client of clients) assert.equal(await client.untilClosed(), '');
    await assert.rejects(RawClient.connect(gateway.port), { code: 'ECONNREFUSED' });
    assert.equal((await exited).code, 0);
  });

  test('one whose identity cannot be used does not listen: its share of connections goes to those that have the one before', async () => {
    const authority = await TestAuthority.create();
    const [orders, caller] = [await authority.identity('orders'), await authority.identity('caller')];
    const sidecar = new TestProcess('sidecar/main.js', { service: 'orders', workers: 2, identity: orders, inbound: { listen, app: `127.0.0.1:${origin.port}`, mtls: 'strict' }, outbound: { listen }, admin: listen, upstreams: upstreams() });
    const port = portIn(await sidecar.logged('ready'), 'inbound');
    const [cert, ca] = [readFileSync(caller.cert), readFileSync(authority.ca)];
    const ask = (): Promise<unknown> =>
      new Promise((resolve) => getHttps({ host: '127.0.0.1', port, agent: false, cert, key: readFileSync(caller.key), ca, checkServerIdentity: () => undefined }, (response) => resolve(response.resume().statusCode)).on('error', resolve));
    const answers = (): Promise<unknown[]> => Promise.all(Array.from({ length: 6 }, ask));
    const key = readFileSync(orders.key);
    copyFileSync(caller.key, orders.key);
    process.kill(Number((await sidecar.logged('a worker has started'))['workerPid']), 'SIGKILL');
    await sidecar.logged('a worker could not be replaced');
    assert.deepEqual(await answers(), Array(6).fill(200));
    writeFileSync(orders.key, key);
    await sidecar.logged('a worker has started', 3);
    assert.deepEqual(await answers(), Array(6).fill(200));
    assert.equal((await sidecar.stop()).code, 0);
    authority.remove();
  });

  test('one that cannot be replaced is tried again until it can, and what is applied meanwhile reaches the other', async () => {
    const authority = await TestAuthority.create();
    const { cert, key } = await authority.issue('shop', { dns: ['shop.test'] });
    const [right, ca] = [readFileSync(cert), readFileSync(authority.ca)];
    const plane = new TestProcess('control-plane/main.js', { listen });
    const url = `http://127.0.0.1:${portIn(await plane.logged('ready'), 'listen')}`;
    // A free port would be another one after a time with no worker at all.
    const path = join(directory, 'replaced.sock');
    const gateway = await startGateway({ listen: { path, tls: { cert, key } }, controlPlane: { url, node: 'gateway' } });
    const status = (): Promise<number | undefined> =>
      new Promise((resolve, reject) => {
        getHttps({ socketPath: path, servername: 'shop.test', ca, agent: false }, (response) => resolve(response.resume().statusCode)).on('error', reject);
      });
    const [first, second] = await workerPids(gateway);
    writeFileSync(cert, 'not a certificate');
    process.kill(first!, 'SIGKILL');
    await gateway.process.logged('a worker could not be replaced', 2);
    const resources = [{ kind: 'Service', name: 'orders', endpoints: [`127.0.0.1:${origin.port}`] }, { kind: 'Route', name: 'all', service: 'orders' }];
    await fetch(`${url}/v1/apply`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(resources) });
    assert.equal((await fetch(`${url}/v1/status?settled=true`)).status, 200);
    assert.equal(await status(), 200);
    process.kill(second!, 'SIGKILL');
    const { err } = await gateway.process.logged('a worker could not be replaced', 4);
    assert.match((err as Error).message, /certificate|PEM/i);
    assert.deepEqual(JSON.parse(await gateway.admin('/readyz')), { ready: false, reasons: ['no worker is serving'] });
    writeFileSync(cert, right);
    const pids = await workerPids(gateway, 4);
    while (!(await gateway.admin('/readyz')).includes('true')) await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await status(), 200);
    assert.deepEqual(pids.map(isAlive), [false, false, true, true]);
    assert.equal(sample(await gateway.admin('/metrics'), /^proxy_worker_exits_total (\d+)$/m), 2);
    assert.equal((await gateway.process.stop()).code, 0);
    await plane.stop();
    authority.remove();
  });

  test('a drain ends the tries to replace one', async () => {
    const authority = await TestAuthority.create();
    const { cert, key } = await authority.issue('shop', { dns: ['shop.test'] });
    const gateway = await startGateway({ listen: { ...listen, tls: { cert, key } }, routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    const [victim] = await workerPids(gateway);
    writeFileSync(cert, 'not a certificate');
    process.kill(victim!, 'SIGKILL');
    await gateway.process.logged('a worker could not be replaced', 2);
    const { code, stderr } = await gateway.process.stop();
    assert.equal(code, 0);
    assert.doesNotMatch(stderr.slice(stderr.indexOf('"draining"')), /could not be replaced|broken off/);
    authority.remove();
  });

  const seesStates = existsSync('/proc/self/stat') ? false : 'whether a process stands still is read from /proc';
  test('a connection that was handed to one that dies before it answers is closed', { skip: seesStates }, async () => {
    const sidecar = new TestProcess('sidecar/main.js', { service: 'orders', workers: 2, inbound: { listen, app: `127.0.0.1:${origin.port}` }, outbound: { listen }, admin: listen, upstreams: upstreams() });
    const ready = await sidecar.logged('ready');
    const victim = Number((await sidecar.logged('a worker has started'))['workerPid']);
    process.kill(victim, 'SIGSTOP');
    while (!/\) T /.test(readFileSync(`/proc/${victim}/stat`, 'utf8'))) await new Promise((resolve) => setImmediate(resolve));
    // Each worker has one in turn, on either port: when two of three are answered, the one that stands still has the third.
    const unanswered: RawClient[] = [];
    for (const name of ['inbound', 'outbound']) {
      const clients = await Promise.all(Array.from({ length: 3 }, () => RawClient.connect(portIn(ready, name))));
      const answered = new Set<RawClient>();
      await new Promise<void>((resolve) => {
        for (const client of clients) {
          const answer = client.send(get.replace('test', 'origin')).until((text) => text.endsWith('hello'));
          void answer.then(() => answered.add(client).size === 2 && resolve(), () => {});
        }
      });
      unanswered.push(...clients.filter((client) => !answered.has(client)));
      answered.forEach((client) => client.close());
    }
    process.kill(victim, 'SIGKILL');
    assert.deepEqual(await Promise.all(unanswered.map((client) => client.untilClosed())), ['', '']);
    // Nothing is handed to it any more.
    for (const name of ['inbound', 'outbound']) await onConnections(portIn(ready, name), 4, (client) => client.send(get.replace('test', 'origin')).until((text) => text.endsWith('hello')));
    assert.equal((await sidecar.stop()).code, 0);
  });

  test('a reload exchanges everything and drops nothing', async () => {
    const other = await httpOrigin((_incoming, response) => response.end('other'));
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    const old = await workerPids(gateway);
    const agent = new Agent({ keepAlive: true, maxSockets: 8 });
    let isOver = false;
    const outcomes = new Map<string, number>();
    const count = (outcome: string): void => void outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    const ask = (own: Agent | false): Promise<void> =>
      new Promise((resolve) => {
        const outgoing = request({ port: gateway.port, host: '127.0.0.1', agent: own }, (response) => {
          let body = '';
          response.on('data', (data: Buffer) => (body += data.toString())).on('end', () => resolve(count(body)));
        });
        outgoing.on('error', (error: NodeJS.ErrnoException) => resolve(count(error.code ?? 'error'))).end();
      });
    // Connections that are kept, and a new one for each request.
    const load = [...Array<Agent>(8).fill(agent), false as const, false as const].map(async (own) => {
      while (!isOver) await ask(own);
    });
    while ((outcomes.get('hello') ?? 0) < 200) await new Promise((resolve) => setImmediate(resolve));
    for (const [index, config] of [
      { routes: [{ upstream: 'other' }], upstreams: { other: { endpoints: [`127.0.0.1:${other.port}`] } }, limits: { maxHeaders: 50 } },
      { routes: [{ upstream: 'origin' }], upstreams: upstreams(), workers: 3 },
      { routes: [{ upstream: 'other' }], upstreams: { other: { endpoints: [`127.0.0.1:${other.port}`] } } },
    ].entries()) {
      const before = new Map(outcomes);
      gateway.process.reload({ ...gateway.config, ...config });
      await gateway.process.logged('reloaded', index + 1);
      const body = index === 1 ? 'hello' : 'other';
      while ((outcomes.get(body) ?? 0) < (before.get(body) ?? 0) + 200) await new Promise((resolve) => setImmediate(resolve));
    }
    isOver = true;
    await Promise.all(load);
    agent.destroy();
    assert.deepEqual([...outcomes.keys()].sort(), ['hello', 'other']);
    while (old.some(isAlive)) await new Promise((resolve) => setImmediate(resolve));
    assert.match(await gateway.admin('/config'), /"upstream":"other"/);
    const attempts = [...(await gateway.admin('/metrics')).matchAll(/^proxy_upstream_attempts_total\{upstream="\w+"\} (\d+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
    assert.equal(attempts, [...outcomes.values()].reduce((sum, value) => sum + value, 0));
    assert.equal((await gateway.process.stop()).code, 0);
    await other.close();
  });

  test('a file that is wrong changes nothing, and the log says where it is', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    gateway.process.reload('listen: { port: 0 }\nroutes:\n  - upstream: nobody\n');
    const { problems } = await gateway.process.logged('the configuration is wrong; the old one stays');
    assert.match((problems as string[]).join('\n'), /config\.yaml:3:\d+: routes\[0\]\.upstream: there is no upstream "nobody"/);
    assert.equal(await (await fetch(gateway.url)).text(), 'hello');
    await gateway.process.stop();
  });

  test('a reload that cannot listen changes nothing', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    const other = await httpOrigin(() => {});
    gateway.process.reload({ ...gateway.config, listen: { ...listen, port: other.port } });
    const { reason } = await gateway.process.logged('the configuration could not be exchanged; the old one stays');
    assert.match(String(reason), /EADDRINUSE/);
    assert.equal(await (await fetch(gateway.url)).text(), 'hello');
    assert.equal((await gateway.process.stop()).code, 0);
    await other.close();
  });

  test('a reload that cannot open one of its ports breaks off nothing that came over another', { skip: seesStates }, async () => {
    const answers: (() => void)[] = [];
    let requested: (() => void) | undefined;
    const untilRequested = new Promise<void>((resolve) => (requested = resolve));
    const slow = await httpOrigin((_incoming, response) => {
      answers.push(() => response.end('at last'));
      requested!();
    });
    const taken = await httpOrigin(() => {});
    const gateway = await startGateway({ routes: [{ upstream: 'slow' }], upstreams: { slow: { endpoints: [`127.0.0.1:${slow.port}`] } } });
    const old = await workerPids(gateway);
    for (const pid of old) process.kill(pid, 'SIGSTOP');
    for (const pid of old) while (!/\) T /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))) await new Promise((resolve) => setImmediate(resolve));
    // One for each that stands still; the third waits for a worker that takes it, which is the first of the new ones.
    const [first, second, third] = [await RawClient.connect(gateway.port), await RawClient.connect(gateway.port), await RawClient.connect(gateway.port)];
    third.send(get);
    gateway.process.reload({ ...gateway.config, tcp: [{ name: 'taken', listen: { ...listen, port: taken.port }, upstream: 'slow' }] });
    await gateway.process.logged('the configuration could not be exchanged; the old one stays');
    await untilRequested;
    answers.forEach((answer) => answer());
    await third.until((text) => text.endsWith('at last'));
    for (const pid of old) process.kill(pid, 'SIGCONT');
    for (const client of [first, second, third]) client.close();
    assert.equal((await gateway.process.stop()).code, 0);
    await Promise.all([slow.close(), taken.close()]);
  });

  test('SIGTERM finishes what is in flight', async () => {
    let requested: (() => void) | undefined;
    let answer: (() => void) | undefined;
    const untilRequested = new Promise<void>((resolve) => (requested = resolve));
    const slow = await httpOrigin((_incoming, response) => {
      answer = () => response.end('at last');
      requested!();
    });
    const gateway = await startGateway({ routes: [{ upstream: 'slow' }], upstreams: { slow: { endpoints: [`127.0.0.1:${slow.port}`] } } });
    const answered = fetch(gateway.url);
    await untilRequested;
    const exited = gateway.process.stop();
    await gateway.process.logged('draining');
    answer!();
    assert.equal(await (await answered).text(), 'at last');
    assert.equal((await exited).code, 0);
    await slow.close();
  });

  test('none outlives its front', async () => {
    const gateway = await startGateway({ routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    const pids = await workerPids(gateway);
    gateway.process.child.kill('SIGKILL');
    while (pids.some(isAlive)) await new Promise((resolve) => setImmediate(resolve));
  });

  test('a port that is taken ends the start', async () => {
    const other = await httpOrigin(() => {});
    const process = new TestProcess('gateway/main.js', { listen: { ...listen, port: other.port }, admin: listen, workers: 2, routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    const { code, stderr } = await process.exited;
    await other.close();
    assert.equal(code, 69);
    assert.match(stderr, new RegExp(`could not listen on 127.0.0.1:${other.port}: the port is taken`));
  });

  test('a Unix domain socket that a crash left behind is taken over once', async () => {
    const path = join(directory, 'gateway.sock');
    const config = { listen: { path }, admin: listen, workers: 2, routes: [{ upstream: 'origin' }], upstreams: upstreams() };
    const crashing = new TestProcess('gateway/main.js', config);
    await crashing.logged('ready');
    crashing.child.kill('SIGKILL');
    await crashing.exited;
    assert.ok(existsSync(path));
    const gateway = new TestProcess('gateway/main.js', config);
    await gateway.logged('ready');
    for (let calls = 0; calls < 4; calls++) {
      const body = await new Promise((resolve, reject) => {
        request({ socketPath: path, agent: false }, (response) => response.on('data', (data: Buffer) => resolve(data.toString()))).on('error', reject).end();
      });
      assert.equal(body, 'hello');
    }
    assert.equal((await gateway.stop()).code, 0);
  });

  test('clients resume TLS sessions with whichever worker they reach', async () => {
    const authority = await TestAuthority.create();
    const { cert, key } = await authority.issue('shop', { dns: ['shop.test'] });
    const gateway = await startGateway({ listen: { ...listen, tls: { cert, key } }, routes: [{ upstream: 'origin' }], upstreams: upstreams() });
    let session: Buffer | undefined;
    const reused: boolean[] = [];
    for (let connection = 0; connection < 5; connection++) {
      const socket = connectTls({ port: gateway.port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca), ...(session && { session }) });
      socket.on('session', (ticket: Buffer) => (session = ticket));
      socket.on('secureConnect', () => reused.push(socket.isSessionReused()));
      socket.write(get.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      let text = '';
      for await (const data of socket) text += String(data);
      assert.match(text, /hello$/);
    }
    assert.deepEqual(reused, [false, true, true, true, true]);
    await gateway.process.stop();
  });

  test('a sidecar has them on both sides, each on its own free port', async () => {
    const sidecar = new TestProcess('sidecar/main.js', { service: 'orders', workers: 2, inbound: { listen, app: `127.0.0.1:${origin.port}` }, outbound: { listen }, admin: listen, upstreams: upstreams() });
    const ready = await sidecar.logged('ready');
    const [inbound, outbound] = [portIn(ready, 'inbound'), portIn(ready, 'outbound')];
    assert.notEqual(inbound, outbound);
    await onConnections(inbound, 4, (client) => client.send(get).until((text) => text.endsWith('hello')));
    await onConnections(outbound, 4, (client) => client.send(get.replace('test', 'origin')).until((text) => text.endsWith('hello')));
    assert.equal((await sidecar.stop()).code, 0);
  });

  test('snapshots of the control plane reach them all', async () => {
    const plane = new TestProcess('control-plane/main.js', { listen });
    const url = `http://127.0.0.1:${portIn(await plane.logged('ready'), 'listen')}`;
    const gateway = await startGateway({ controlPlane: { url, node: 'gateway' } });
    const statuses = (): Promise<number[]> => onConnections(gateway.port, 4, async (client) => Number((await client.send(get).until((text) => /hello$|\}$/.test(text))).slice(9, 12)));
    assert.deepEqual(await statuses(), [404, 404, 404, 404]);
    const resources = [{ kind: 'Service', name: 'orders', endpoints: [`127.0.0.1:${origin.port}`] }, { kind: 'Route', name: 'all', service: 'orders' }];
    await fetch(`${url}/v1/apply`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(resources) });
    assert.equal((await fetch(`${url}/v1/status?settled=true`)).status, 200);
    assert.deepEqual(await statuses(), [200, 200, 200, 200]);
    // One that comes later starts with it, and a reload of the file leaves it in force.
    const [victim] = await workerPids(gateway);
    process.kill(victim!, 'SIGKILL');
    await workerPids(gateway, 3);
    gateway.process.reload(gateway.config);
    await gateway.process.logged('reloaded');
    assert.deepEqual(await statuses(), [200, 200, 200, 200]);
    await gateway.process.stop();
    await plane.stop();
  });
});
