import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test, type TestContext } from 'node:test';
import { TestAuthority } from '../support/certificates.js';
import { refusedPort, tcpOrigin, type Origin } from '../support/origin.js';
import { portIn, TestProcess } from '../support/process.js';
import { RawClient } from '../support/raw-client.js';
import { SnapshotSource } from '../support/snapshots.js';
import { until } from '../support/until.js';

const listen = { host: '127.0.0.1', port: 0 };
/** What buffers that nobody holds any more may take until they are collected; see tests/soak/backpressure.test.ts. */
const mostGrowth = (Number(process.versions.node.split('.', 1)[0]) < 24 ? 48 : 112) * 2 ** 20;
const total = (mostGrowth >> 20) * 2 ** 21;
/** The same listeners in each placement; what differs is the name of the process, and what it must have beside them. */
const placements = {
  gateway: { entry: 'gateway/main.js', config: { listen } },
  sidecar: { entry: 'sidecar/main.js', config: { service: 'orders' } },
} as const;
type Placement = (typeof placements)[keyof typeof placements];

interface Running {
  readonly process: TestProcess;
  readonly port: number;
  readonly config: Record<string, unknown>;
  readonly admin: (path: string) => Promise<string>;
}

async function start(context: TestContext, { entry, config }: Placement, endpoints: readonly number[], { tcp = {}, upstream = {}, ...more }: { tcp?: object; upstream?: object } & Record<string, unknown> = {}): Promise<Running> {
  const whole = {
    ...config, admin: listen, ...more,
    tcp: [{ listen, upstream: 'db', ...tcp }],
    upstreams: { db: { endpoints: endpoints.map((port) => `127.0.0.1:${port}`), ...upstream } },
  };
  const process = new TestProcess(entry, whole);
  context.after(async () => process.child.exitCode === null && (await process.stop()));
  const ready = await process.logged('ready');
  return { process, config: whole, port: portIn(ready, 'tcp-db'), admin: async (path) => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}${path}`)).text() };
}

async function origin(context: TestContext, handler: (socket: Socket) => void): Promise<Origin> {
  const started = await tcpOrigin(handler, { allowHalfOpen: true });
  context.after(() => started.close());
  return started;
}

const echo = (socket: Socket): unknown => socket.pipe(socket);

async function open(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  await client.send('a').until((text) => text === 'a');
  return client;
}

function errorOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('end', () => resolve('end'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code!));
  });
}

/** How a connection ends that nobody wants: the reset may be there before it is told to be made. */
function endOfOneMore(port: number): Promise<string> {
  return RawClient.connect(port).then(({ socket }) => errorOf(socket), (error: unknown) => (error as NodeJS.ErrnoException).code!);
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024;
}

for (const [name, placement] of Object.entries(placements)) {
  describe(`TCP through the ${name}`, () => {
    test('is passed on, logged and counted', async (context) => {
      const { port } = await origin(context, echo);
      const { process, port: proxy, admin } = await start(context, placement, [await refusedPort(), port], { upstream: { balance: { algorithm: 'round-robin' } } });
      const clients = await Promise.all([open(proxy), open(proxy), open(proxy)]);
      const [db] = JSON.parse(await admin('/upstreams')) as { endpoints: { inFlight: number; connections: number }[] }[];
      assert.deepEqual(db!.endpoints.map(({ inFlight, connections }) => [inFlight, connections]), [[0, 0], [3, 3]]);
      const during = await admin('/metrics');
      assert.match(during, /^proxy_tcp_connections\{listener="tcp-db"\} 3$/m);
      assert.match(during, /^proxy_tcp_received_bytes_total\{listener="tcp-db",upstream="db"\} 3$/m);
      clients[0].socket.end();
      clients[1].socket.end();
      clients[2].socket.resetAndDestroy();
      const lines = await process.accessLog(3);
      assert.deepEqual(lines.map(({ flags }) => flags).sort(), ['DC', undefined, undefined]);
      const { time, durationMs, upstreamMs, attempts, ...line } = lines.find(({ flags }) => flags === undefined)!;
      assert.deepEqual(line, { level: 'info', listener: 'tcp-db', protocol: 'tcp', client: '127.0.0.1', upstream: 'db', endpoint: `127.0.0.1:${port}`, receivedBytes: 1, sentBytes: 1 });
      for (const value of [durationMs, upstreamMs, attempts]) assert.equal(typeof value, 'number');
      assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
      const after = await admin('/metrics');
      assert.match(after, /^proxy_tcp_connections_total\{listener="tcp-db",upstream="db",outcome="ok"\} 2$/m);
      assert.match(after, /^proxy_tcp_connections_total\{listener="tcp-db",upstream="db",outcome="client_closed"\} 1$/m);
      assert.match(after, /^proxy_tcp_sent_bytes_total\{listener="tcp-db",upstream="db"\} 3$/m);
      assert.doesNotMatch(after, /^proxy_tcp_connections\{.*\} [1-9]/m);
    });

    test('why no connection could be made is in the log', async (context) => {
      const dead = await refusedPort();
      const { process, port } = await start(context, placement, [dead]);
      assert.equal(await endOfOneMore(port), 'ECONNRESET');
      const [line] = await process.accessLog(1);
      assert.deepEqual([line!['code'], line!['reason'], line!['flags']], ['upstream_connect_failed', `connect ECONNREFUSED 127.0.0.1:${dead}`, 'UF']);
    });

    test('twice the memory that it may take against a slow reader: it waits, in either direction', { skip: existsSync('/proc/self/status') ? false : 'resident memory is read from /proc' }, async (context) => {
      const chunk = Buffer.alloc(1 << 18, 'x');
      const pour = async (sink: Socket): Promise<void> => {
        for (let sent = 0; sent < total; sent += chunk.length) if (!sink.write(chunk)) await once(sink, 'drain');
        sink.end();
      };
      /** Takes nothing until the sender has stood still for a while, and then everything. */
      const sip = async (source: Socket, pid: number): Promise<{ read: number; grown: number }> => {
        source.pause();
        const before = residentBytes(pid);
        let peak = before;
        for (let round = 0; round < 20; round++) {
          await new Promise((resolve) => setTimeout(resolve, 20));
          peak = Math.max(peak, residentBytes(pid));
        }
        let read = 0;
        for await (const data of source) {
          read += (data as Buffer).length;
          if (read % 97 === 0) peak = Math.max(peak, residentBytes(pid));
        }
        return { read, grown: Math.max(peak, residentBytes(pid)) - before };
      };
      let taken: ((socket: Socket) => void) | undefined;
      const arrived = new Promise<Socket>((resolve) => (taken = resolve));
      const { port } = await origin(context, (socket) => {
        socket.once('data', (first) => {
          if (first.toString() === 'down') void pour(socket);
          else {
            socket.pause();
            socket.write('go');
            taken!(socket);
          }
        });
      });
      const { process, port: proxy } = await start(context, placement, [port]);
      const down = await new Promise<Socket>((resolve) => {
        const socket = connect({ port: proxy, host: '127.0.0.1', allowHalfOpen: true }, () => resolve(socket));
      });
      down.write('down');
      const received = await sip(down, process.child.pid!);
      down.end();
      assert.equal(received.read, total);
      assert.ok(received.grown < mostGrowth, `downwards it grew by ${received.grown >> 20} MiB`);

      const up = connect({ port: proxy, host: '127.0.0.1' });
      up.write('up');
      await once(up, 'data');
      void pour(up);
      const sent = await sip(await arrived, process.child.pid!);
      assert.equal(sent.read, total);
      assert.ok(sent.grown < mostGrowth, `upwards it grew by ${sent.grown >> 20} MiB`);
      up.destroy();
    });

    test('an upstream that is killed in the middle is seen to have broken off', async (context) => {
      const server = spawn(process.execPath, ['-e', "require('net').createServer({ pauseOnConnect: true }, (s) => s.write('half of')).listen(0, '127.0.0.1', function () { console.log(this.address().port) })"], { stdio: ['ignore', 'pipe', 'inherit'] });
      context.after(() => server.kill('SIGKILL'));
      const port = Number(String((await once(server.stdout, 'data'))[0]));
      const proxy = await start(context, placement, [port]);
      const client = await RawClient.connect(proxy.port);
      const end = errorOf(client.socket);
      // What it has not read makes its kernel reset the connection; with nothing unread a kill looks like an end to everybody.
      await client.send('unread').until((text) => text === 'half of');
      while (!(await proxy.admin('/metrics')).includes('proxy_tcp_received_bytes_total{listener="tcp-db",upstream="db"} 6')) await new Promise((resolve) => setImmediate(resolve));
      server.kill('SIGKILL');
      assert.equal(await end, 'ECONNRESET');
      assert.deepEqual((await proxy.process.accessLog(1)).map(({ code, flags }) => [code, flags]), [['upstream_truncated', 'UC']]);
    });

    test('upstreams are exchanged under it: new connections go to the new ones, old ones go on', async (context) => {
      const [before, after] = [await origin(context, echo), await origin(context, (socket) => socket.on('data', () => socket.write('new')))];
      const proxy = await start(context, placement, [before.port]);
      const old = await open(proxy.port);
      proxy.process.reload({ ...proxy.config, upstreams: { db: { endpoints: [`127.0.0.1:${after.port}`] } } });
      await proxy.process.logged('reloaded');
      await old.send('b').until((text) => text === 'ab');
      const client = await RawClient.connect(proxy.port);
      await client.send('a').until((text) => text === 'new');
      for (const one of [old, client]) one.socket.destroy();
    });

    for (const workers of [1, 2]) {
      test(`its upstream stays the file’s where the control plane has none of its name, workers: ${workers}`, async (context) => {
        const snapshots = await SnapshotSource.start(context, {});
        const [before, after] = [await origin(context, echo), await origin(context, (socket) => socket.on('data', () => socket.write('new')))];
        const proxy = await start(context, placement, [before.port], { workers, controlPlane: { url: snapshots.url, node: 'one' } });
        const answers = async (expected: string): Promise<void> => {
          for (let index = 0; index < 4; index++) {
            const client = await RawClient.connect(proxy.port);
            await client.send('a').until((text) => text === expected);
            client.close();
          }
        };
        await answers('a');
        if (workers > 1) {
          process.kill(Number((await proxy.process.logged('a worker has started'))['workerPid']), 'SIGKILL');
          await proxy.process.logged('a worker has started', workers + 1);
          await answers('a');
        }
        const shown = `"port":${after.port}`;
        proxy.process.reload({ ...proxy.config, upstreams: { db: { endpoints: [`127.0.0.1:${after.port}`] } } });
        await proxy.process.logged('reloaded');
        await answers('new');
        assert.ok((await proxy.admin('/config')).includes(shown));
        assert.equal((await snapshots.send({ upstreams: { orders: { endpoints: ['127.0.0.1:1'] } } })).accepted, true);
        await answers('new');
        assert.ok((await proxy.admin('/config')).includes(shown));
      });
    }

    test('SIGTERM takes no new connections, lets those that are there go on for drainTimeout, then cuts them, and exits 0', async (context) => {
      const proxy = await start(context, placement, [(await origin(context, echo)).port], { drainTimeout: '1s' });
      const client = await open(proxy.port);
      const end = errorOf(client.socket);
      const exited = proxy.process.stop();
      await proxy.process.logged('draining');
      await client.send('b').until((text) => text === 'ab');
      assert.equal(await end, 'ECONNRESET');
      const { code, stdout } = await exited;
      assert.equal(code, 0);
      assert.match(stdout, /"code":"shut_down","flags":"LR"/);
    });

    test('workers share the port, and the limit of connections', async (context) => {
      const proxy = await start(context, placement, [(await origin(context, echo)).port], { workers: 2, tcp: { maxConnections: 4 } });
      const clients: RawClient[] = [];
      for (let index = 0; index < 4; index++) clients.push(await open(proxy.port));
      assert.equal(await endOfOneMore(proxy.port), 'ECONNRESET');
      const metrics = await proxy.admin('/metrics');
      assert.match(metrics, /^proxy_tcp_connections\{listener="tcp-db"\} 4$/m);
      const [db] = JSON.parse(await proxy.admin('/upstreams')) as { endpoints: { inFlight: number }[] }[];
      assert.equal(db!.endpoints[0]!.inFlight, 4);
      await proxy.process.logged('a limit of connections was reached: further ones are closed');
      assert.match(metrics, /^proxy_connections_refused_total\{listener="tcp-db",limit="maxConnections"\} 1$/m);
      for (const client of clients) client.close();
    });

    test('every problem is named with its path', async () => {
      const { code, stderr } = await new TestProcess(placement.entry, {
        ...placement.config,
        admin: { port: 9901 },
        tcp: [
          { listen: { port: 5432 }, upstream: 'nowhere' },
          { listen: { port: 5432 }, upstream: 'db', idleTimeout: 'soon' },
          { listen: { port: 9901 }, upstream: 'db' },
          { name: 'admin', listen: {}, upstream: 'db' },
          { name: 'x', listen: { path: '/tmp/x', tls: { cert: '/nowhere.crt', key: '/nowhere.key' } }, upstream: 'db', sendProxyProtocol: 3 },
        ],
        upstreams: { db: { endpoints: ['localhost:5432', '127.0.0.1:1'] } },
      }, ['--check']).exited;
      assert.equal(code, 64);
      for (const expected of [
        /tcp\[0\]\.upstream: there is no upstream "nowhere"; there is db/,
        /tcp\[1\]\.listen: 127\.0\.0\.1:5432 is taken by tcp\[0\]\.listen/,
        /tcp\[1\]\.idleTimeout: expected a duration/,
        /tcp\[2\]\.listen: 127\.0\.0\.1:9901 is taken by admin/,
        /tcp\[2\]\.name: another listener goes by the name "tcp-db"/,
        /tcp\[3\]\.name: another listener goes by the name "admin"/,
        /tcp\[3\]\.listen: expected either a port or a path/,
        /tcp\[4\]\.listen\.tls\.cert: the file cannot be read/,
        /tcp\[4\]\.sendProxyProtocol: /,
        /upstreams\.db\.endpoints\[0\]: is this proxy's own tcp\[0\]\.listen/,
      ]) assert.match(stderr, expected);
      assert.doesNotMatch(stderr, /endpoints\[1\]/);
    });
  });
}

test('two sidecars speak mutual TLS to each other, and neither application knows', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const [near, far] = [await authority.issue('orders', { dns: ['orders'] }), await authority.issue('db', { dns: ['db'] })];
  const { port } = await origin(context, echo);
  const server = await start(context, placements.sidecar, [port], { tcp: { listen: { ...listen, tls: { ...far, clientAuth: { ca: authority.ca } } } } });
  const client = await start(context, placements.sidecar, [server.port], { upstream: { tls: { ca: authority.ca, serverName: 'db', ...near } } });
  const application = await open(client.port);
  await application.send(' and more').until((text) => text === 'a and more');
  application.socket.end();
  await client.process.accessLog(1);
  await server.process.accessLog(1);
  // Without a certificate nobody gets as far as the application.
  const stranger = await start(context, placements.sidecar, [server.port], { upstream: { tls: { ca: authority.ca, serverName: 'db' } } });
  const refused = await RawClient.connect(stranger.port);
  assert.equal(await refused.send('a').untilClosed(), '');
});

test('a sidecar that drains serves the application’s own connections until the requests that came in are finished', async (context) => {
  const db = await origin(context, echo);
  let answer: (() => void) | undefined;
  const app = await origin(context, (socket) => socket.once('data', () => (answer = () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'))));
  const sidecar = new TestProcess('sidecar/main.js', {
    service: 'orders', admin: listen, inbound: { listen, app: `127.0.0.1:${app.port}` },
    tcp: [{ listen, upstream: 'db' }, { name: 'for-others', listen: { host: '0.0.0.0', port: 0 }, upstream: 'db' }],
    upstreams: { db: { endpoints: [`127.0.0.1:${db.port}`] } },
  });
  const ready = await sidecar.logged('ready');
  const caller = await RawClient.connect(portIn(ready, 'inbound'));
  caller.send('GET / HTTP/1.1\r\nHost: orders\r\n\r\n');
  while (answer === undefined) await new Promise((resolve) => setImmediate(resolve));
  const exited = sidecar.stop();
  await sidecar.logged('draining');
  (await open(portIn(ready, 'tcp-db'))).socket.end();
  await assert.rejects(RawClient.connect(portIn(ready, 'for-others')), /ECONNREFUSED/);
  answer();
  assert.match(await caller.untilClosed(), /ok$/);
  assert.equal((await exited).code, 0);
});

const redisServer = spawnSync('redis-server', ['--version']).status === 0;

test('Redis is spoken through a sidecar, a pipeline and a subscription too', { skip: redisServer ? false : 'redis-server is not installed' }, async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'redis-test-'));
  const socket = join(directory, 'redis.sock');
  const redis = spawn('redis-server', ['--port', '0', '--unixsocket', socket, '--save', '', '--appendonly', 'no', '--dir', directory], { stdio: 'ignore' });
  context.after(async () => {
    redis.kill('SIGKILL');
    await once(redis, 'exit');
    rmSync(directory, { recursive: true, force: true });
  });
  const proxy = await start(context, placements.sidecar, [], { upstream: { endpoints: [`unix:${socket}`], healthCheck: { interval: '50ms', initial: 'unhealthy' }, balance: { panicThreshold: 0 } } });
  await until(async () => (await proxy.admin('/upstreams')).includes('"healthy":true'));
  const command = (...words: readonly string[]): string => `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
  const client = await RawClient.connect(proxy.port);
  const value = 'v'.repeat(100_000);
  await client.send(command('SET', 'stock:1', value) + command('GET', 'stock:1') + command('INCR', 'n')).until((text) => text.endsWith(`+OK\r\n$100000\r\n${value}\r\n:1\r\n`));
  const subscriber = await RawClient.connect(proxy.port);
  await subscriber.send(command('SUBSCRIBE', 'news')).until((text) => text.includes(':1\r\n'));
  await client.send(command('PUBLISH', 'news', 'hello')).until((text) => text.endsWith(':1\r\n:1\r\n'));
  await subscriber.until((text) => text.endsWith('$5\r\nhello\r\n'));
  await client.send(command('QUIT')).untilClosed();
  assert.ok(client.text.endsWith('+OK\r\n'));
  subscriber.close();
});

for (const protocol of ['h1', 'h2', 'auto']) {
  test(`the limits of an upstream hold for TCP whatever HTTP is spoken to it: ${protocol}`, async (context) => {
    let connections = 0;
    const { port } = await origin(context, (socket) => {
      connections++;
      socket.once('close', () => connections--).once('end', () => socket.end());
      socket.on('data', (data) => socket.write(data.subarray(0, 3).equals(Buffer.from('GET')) ? 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok' : data));
    });
    const proxy = await start(context, placements.gateway, [port], { upstream: { protocol, limits: { maxConnections: 2, maxPending: 1 } }, routes: [{ upstream: 'db' }] });
    // Leaves an idle connection, which is of no use to a stream but makes room for one.
    if (protocol !== 'h2') assert.equal((await fetch(`http://127.0.0.1:${portIn(await proxy.process.logged('ready'), 'listen')}`)).status, 200);
    const held = [await open(proxy.port), await open(proxy.port)];
    const waiting = (await RawClient.connect(proxy.port)).send('a');
    await until(async () => /^proxy_upstream_limited_pending\{upstream="db"\} 1$/m.test(await proxy.admin('/metrics')));
    assert.equal(await endOfOneMore(proxy.port), 'ECONNRESET');
    const [db] = JSON.parse(await proxy.admin('/upstreams')) as { endpoints: { inFlight: number; connections: number }[] }[];
    assert.deepEqual([db!.endpoints[0]!.inFlight, db!.endpoints[0]!.connections, waiting.text], [2, 2, '']);
    await until(() => connections === 2);
    held[0]!.close();
    await waiting.until((text) => text === 'a');
    for (const client of [...held, waiting]) client.close();
  });
}
