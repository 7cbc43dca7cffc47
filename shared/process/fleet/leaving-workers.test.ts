import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { httpOrigin, tcpOrigin, type Origin } from '../../../tests/support/origin.js';
import { portIn, TestProcess } from '../../../tests/support/process.js';
import { RawClient } from '../../../tests/support/raw-client.js';
import { until } from '../../../tests/support/until.js';

const listen = { host: '127.0.0.1', port: 0 };
const get = 'GET / HTTP/1.1\r\nHost: test\r\n\r\n';

describe('workers that leave', () => {
  let origin: Origin;
  let streams: Origin;
  before(async () => {
    // An answer begins, and never ends, but for one path.
    origin = await httpOrigin(({ url }, response) => (url === '/whole' ? response.end('hello') : response.write('hello')));
    streams = await tcpOrigin((socket) => socket.pipe(socket), { allowHalfOpen: true });
  });
  after(() => Promise.all([origin.close(), streams.close()]));

  const configOf = (more: object): Record<string, unknown> => ({
    listen,
    admin: listen,
    workers: 2,
    routes: [{ upstream: 'origin' }],
    tcp: [{ listen, upstream: 'streams' }],
    upstreams: { origin: { endpoints: [`127.0.0.1:${origin.port}`] }, streams: { endpoints: [`127.0.0.1:${streams.port}`] } },
    ...more,
  });

  for (const { signal, warning } of [
    { signal: 'SIGHUP', warning: 'requests in flight of before a reload were broken off at the end of the drain timeout' },
    { signal: 'SIGTERM', warning: 'requests in flight were broken off at the end of the drain timeout' },
  ] as const) {
    test(`${signal}: what is open at the end of drainTimeout is reset, and logged`, async () => {
      const gateway = new TestProcess('gateway/main.js', configOf({ drainTimeout: '300ms' }));
      const ready = await gateway.logged('ready');
      const stream = await RawClient.connect(portIn(ready, 'tcp-streams'));
      const request = await RawClient.connect(portIn(ready, 'listen'));
      await stream.send('hello').until((text) => text === 'hello');
      await request.send(get).until((text) => text.includes('hello'));
      let ending: string | undefined;
      stream.socket.once('error', (error: NodeJS.ErrnoException) => (ending = error.code));
      gateway.child.kill(signal);
      await Promise.all([stream.untilClosed(), request.untilClosed()]);
      assert.equal(ending, 'ECONNRESET');
      const lines = await gateway.accessLog(2);
      assert.equal(lines.find(({ protocol }) => protocol === 'tcp')?.['code'], 'shut_down');
      assert.ok(lines.some(({ path }) => path === '/'));
      await gateway.logged(warning);
      if (signal === 'SIGHUP') gateway.child.kill('SIGTERM');
      assert.equal((await gateway.exited).code, 0);
    });
  }

  test('those on their way out count what is open, and do not describe what is in force', async (context) => {
    const directory = mkdtempSync(join(tmpdir(), 'leaving-workers-test-'));
    context.after(() => rmSync(directory, { recursive: true }));
    const file = join(directory, 'endpoints.json');
    writeFileSync(file, JSON.stringify([`127.0.0.1:${origin.port}`]));
    const found = (upstream: string): Record<string, unknown> => ({ listen, admin: listen, workers: 2, routes: [{ upstream }], upstreams: { [upstream]: { discovery: { file } } } });
    const gateway = new TestProcess('gateway/main.js', found('before'));
    const ready = await gateway.logged('ready');
    const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
    await until(async () => (await metrics()).includes('proxy_discovery_endpoints{upstream="before",source="file"} 1\n'));
    const request = await RawClient.connect(portIn(ready, 'listen'));
    await request.send(get).until((text) => text.includes('hello'));
    gateway.reload(found('after'));
    await gateway.logged('reloaded');
    await until(async () => (await metrics()).includes('proxy_discovery_endpoints{upstream="after",source="file"} 1\n'));
    assert.doesNotMatch(await metrics(), /proxy_discovery_endpoints\{upstream="before"/);
    assert.match(await metrics(), /^proxy_requests_in_flight\{listener="edge"\} 1$/m);
    request.socket.resetAndDestroy();
    assert.equal((await gateway.stop()).code, 0);
  });

  test('one that does not even break off is killed', { skip: process.platform === 'win32' ? 'no process can be stopped there' : false }, async () => {
    const gateway = new TestProcess('gateway/main.js', configOf({ drainTimeout: '100ms' }));
    await gateway.logged('ready');
    const { workerPid: pid } = await gateway.logged('a worker has started');
    process.kill(Number(pid), 'SIGSTOP');
    const { code } = await gateway.stop();
    assert.equal((await gateway.logged('a worker does not end; it is killed'))['workerPid'], pid);
    assert.equal(code, 0);
  });

  const counted = `/proc/${process.pid}/task/${process.pid}/children`;
  const childrenOf = ({ child: { pid } }: TestProcess): number[] => readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  for (const { when, isUnderWay } of [
    { when: 'is still in line', isUnderWay: false },
    { when: 'has started its workers', isUnderWay: true },
  ]) {
    test(`a reload that ${when} when SIGTERM comes is given up`, { skip: existsSync(counted) ? false : 'processes are counted in /proc' }, async () => {
      const gateway = new TestProcess('gateway/main.js', configOf({}));
      const ready = await gateway.logged('ready');
      const stream = await RawClient.connect(portIn(ready, 'tcp-streams'), { allowHalfOpen: true });
      await stream.send('hello').until((text) => text === 'hello');
      gateway.child.kill('SIGHUP');
      if (isUnderWay) await until(() => childrenOf(gateway).length > 2);
      gateway.child.kill('SIGTERM');
      const given = 'the configuration could not be exchanged; the old one stays';
      // One that is still in line may find the drain under way when its turn comes.
      await until(() => [given, 'reloaded', 'SIGHUP is ignored'].some((message) => gateway.stderr.includes(`"msg":"${message}`)));
      assert.doesNotMatch(gateway.stderr, /"reloaded"/);
      if (isUnderWay || gateway.stderr.includes(given)) assert.equal((await gateway.logged(given))['reason'], 'the proxy is draining');
      await until(() => childrenOf(gateway).length === 1);
      await assert.rejects(RawClient.connect(portIn(ready, 'listen')), { code: 'ECONNREFUSED' });
      stream.socket.end();
      assert.equal((await gateway.exited).code, 0);
    });
  }

  test('SIGHUPs that come while a reload is under way are one, which takes the file as it is then', async () => {
    const gateway = new TestProcess('gateway/main.js', configOf({}));
    const ready = await gateway.logged('ready');
    let signals = 0;
    await until(() => {
      gateway.child.kill('SIGHUP');
      signals++;
      return gateway.stderr.split('"a worker has started"').length > 3;
    });
    gateway.reload(configOf({ workers: 3 }));
    await until(async () => (await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/config`)).text()).includes('"workers":3'));
    const reloads = (await gateway.stop()).stderr.split('"reloaded"').length - 1;
    // The first, one for those that came during it, and another if the file was exchanged too late for that one.
    assert.ok(reloads <= 3 && signals > 3, `${reloads} reloads for ${signals} signals`);
  });

  test('SIGTERM to the whole group is for the front to act upon', async () => {
    const gateway = new TestProcess('gateway/main.js', configOf({ drainDelay: '1h' }));
    const ready = await gateway.logged('ready');
    const workers = [await gateway.logged('a worker has started'), await gateway.logged('a worker has started', 2)].map(({ workerPid }) => Number(workerPid));
    for (const signal of ['SIGINT', 'SIGTERM'] as const) for (const worker of workers) process.kill(worker, signal);
    gateway.child.kill('SIGTERM');
    await gateway.logged('draining');
    for (let requests = 0; requests < 20; requests++) {
      const client = await RawClient.connect(portIn(ready, 'listen'));
      assert.doesNotMatch(await client.send(get).until((text) => text.includes('hello')), /connection: close/i);
      client.close();
    }
    const { code, stderr } = await gateway.stop();
    assert.equal(code, 143);
    assert.equal(stderr.split('"a worker has').length - 1, 2);
  });

  test('those of before the last three reloads are not waited for', async () => {
    const gateway = new TestProcess('gateway/main.js', configOf({ drainTimeout: '1h' }));
    const ready = await gateway.logged('ready');
    const streams: RawClient[] = [];
    for (let reloads = 1; reloads <= 3; reloads++) {
      const stream = await RawClient.connect(portIn(ready, 'tcp-streams'));
      await stream.send('hello').until((text) => text === 'hello');
      streams.push(stream);
      gateway.child.kill('SIGHUP');
      await gateway.logged('reloaded', reloads);
    }
    await gateway.logged('requests in flight of before the last reloads were broken off: too many reloads within the drain timeout');
    await streams[0]!.untilClosed();
    for (const stream of streams.slice(1)) await stream.send('more').until((text) => text === 'hellomore');
    for (const stream of streams) stream.close();
    assert.equal((await gateway.stop()).code, 0);
  });

  const stops = process.platform === 'win32' ? 'no process can be stopped there' : false;
  test('one that stands still holds up neither a reload nor /upstreams', { skip: stops }, async () => {
    const gateway = new TestProcess('gateway/main.js', configOf({ drainTimeout: '100ms' }));
    const ready = await gateway.logged('ready');
    const { workerPid: pid } = await gateway.logged('a worker has started');
    process.kill(Number(pid), 'SIGSTOP');
    assert.equal((await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/upstreams`)).status, 200);
    gateway.child.kill('SIGHUP');
    await gateway.logged('reloaded');
    // Which the watchdog says after half a minute.
    assert.doesNotMatch(gateway.stderr, /does not answer/);
    assert.equal((await gateway.stop()).code, 0);
  });

  test('one whose front dies before it can answer ends without a word', { skip: stops }, async () => {
    const gateway = new TestProcess('gateway/main.js', configOf({}));
    const ready = await gateway.logged('ready');
    const { workerPid: pid } = await gateway.logged('a worker has started');
    process.kill(Number(pid), 'SIGSTOP');
    // Which asks the workers, and gives up on this one.
    await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`);
    gateway.child.kill('SIGKILL');
    process.kill(Number(pid), 'SIGCONT');
    assert.doesNotMatch((await gateway.exited).stderr, /uncaught/);
  });

  test('what one counted that exits while metrics are collected is counted once', { skip: stops }, async () => {
    const gateway = new TestProcess('gateway/main.js', configOf({ drainTimeout: '100ms' }));
    const ready = await gateway.logged('ready');
    const [stopped, victim] = [await gateway.logged('a worker has started'), await gateway.logged('a worker has started', 2)].map(({ workerPid }) => Number(workerPid));
    for (let requests = 0; requests < 4; requests++) {
      const client = await RawClient.connect(portIn(ready, 'listen'));
      await client.send(get.replace('/', '/whole')).until((text) => text.includes('hello'));
      client.close();
    }
    const total = async (): Promise<number> => {
      const text = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
      return [...text.matchAll(/^http_server_request_duration_seconds_count\{.*\} (\d+)$/gm)].reduce((sum, [, count]) => sum + Number(count), 0);
    };
    await until(async () => (await total()) === 4);
    process.kill(stopped!, 'SIGSTOP');
    const meanwhile = total();
    process.kill(victim!, 'SIGKILL');
    await gateway.logged('a worker has exited; another takes its place');
    assert.equal(await meanwhile, 4);
    process.kill(stopped!, 'SIGCONT');
    assert.equal((await gateway.stop()).code, 0);
  });
});
