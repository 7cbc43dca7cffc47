import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls, createServer as createTlsServer } from 'node:tls';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '../clock/fake-clock.js';
import { parseProxyHeader } from '../listener/proxy-protocol.js';
import { TestAuthority } from '../../tests/support/certificates.js';
import { refusedPort, tcpOrigin, type Origin } from '../../tests/support/origin.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { startTcp, type TestTcp, type TestTcpOptions } from '../../tests/support/tcp.js';

async function start(context: TestContext, endpoints: readonly (string | number)[], options?: TestTcpOptions): Promise<TestTcp> {
  const tcp = await startTcp(endpoints, options);
  context.after(() => tcp.close());
  return tcp;
}

async function origin(context: TestContext, handler: (socket: Socket) => void): Promise<Origin> {
  const started = await tcpOrigin(handler, { allowHalfOpen: true });
  context.after(() => started.close());
  return started;
}

const echo = (socket: Socket): unknown => socket.pipe(socket);

/** How a connection ended, as its peer sees it: an orderly end, or the code of an error. */
function endOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('end', () => resolve('end'));
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code!));
  });
}

test('bytes come out as they went in, a MiB each way', async (context) => {
  const tcp = await start(context, [(await origin(context, echo)).port]);
  const sent = randomBytes(1 << 20);
  const client = connect(tcp.port, '127.0.0.1');
  const chunks: Buffer[] = [];
  client.on('data', (data: Buffer) => chunks.push(data));
  client.end(sent);
  await once(client, 'end');
  assert.ok(Buffer.concat(chunks).equals(sent));
  const [over] = await tcp.untilOver(1);
  assert.deepEqual([over!.requestBytes, over!.responseBytes, over!.errorCode, over!.upstream, over!.attempts], [1 << 20, 1 << 20, undefined, 'origin', 1]);
});

test('a server that speaks first is heard by a client that has said nothing', async (context) => {
  const tcp = await start(context, [(await origin(context, (socket) => socket.end('220 ready\r\n'))).port]);
  const client = await RawClient.connect(tcp.port);
  assert.equal(await client.untilClosed(), '220 ready\r\n');
});

test('each direction ends by itself', async (context) => {
  const { port } = await origin(context, (socket) => {
    // Answers only once the client has said all it had to say.
    let asked = '';
    socket.on('data', (data) => (asked += data.toString()));
    socket.on('end', () => socket.end(`whole: ${asked}`));
  });
  const tcp = await start(context, [port]);
  const client = await RawClient.connect(tcp.port, { allowHalfOpen: true });
  client.send('question').socket.end();
  assert.equal(await client.untilClosed(), 'whole: question');

  const early = await start(context, [(await origin(context, (socket) => {
    socket.end('goodbye');
    socket.on('data', (data) => data.toString() === 'last words' && heard!());
  })).port]);
  let heard: (() => void) | undefined;
  const words = new Promise<void>((resolve) => (heard = resolve));
  const other = await RawClient.connect(early.port, { allowHalfOpen: true });
  await other.until((text) => text === 'goodbye');
  other.send('last words').socket.end();
  await words;
  assert.deepEqual((await early.untilOver(1)).map(({ errorCode }) => errorCode), [undefined]);
});

test('of two endpoints one is dead, and no connection is lost', async (context) => {
  const { port } = await origin(context, echo);
  const tcp = await start(context, [await refusedPort(), port]);
  for (let index = 0; index < 10; index++) {
    const client = await RawClient.connect(tcp.port);
    assert.equal(await client.send(`hello ${index}`).until((text) => text.endsWith(String(index))), `hello ${index}`);
    client.socket.end();
  }
  const over = await tcp.untilOver(10);
  assert.deepEqual([...new Set(over.map(({ endpoint }) => endpoint))], [`127.0.0.1:${port}`]);
  assert.ok(over.some(({ attempts }) => attempts === 2), 'the dead one was tried');
});

test('a breaker counts connections that fail, and spares the endpoint', async (context) => {
  const { port } = await origin(context, echo);
  const dead = await refusedPort();
  const tcp = await start(context, [dead, port], { upstream: { breaker: { volumeThreshold: 2, resetTimeout: '1h' } } });
  for (let index = 0; index < 12; index++) {
    const client = await RawClient.connect(tcp.port);
    await client.send('x').until((text) => text === 'x');
    client.socket.end();
  }
  const attempts = (await tcp.untilOver(12)).map((over) => over.attempts);
  assert.equal(attempts.filter((count) => count === 2).length, 2, String(attempts));
  assert.deepEqual(tcp.upstream.endpoints.map(({ gate }) => gate.state()), ['open', 'closed']);
});

test('where nobody can be reached the client sees a reset, not an end', async (context) => {
  const tcp = await start(context, [await refusedPort(), await refusedPort()]);
  const client = connect(tcp.port, '127.0.0.1');
  assert.equal(await endOf(client), 'ECONNRESET');
  const [over] = await tcp.untilOver(1);
  assert.deepEqual([over!.errorCode, over!.attempts], ['upstream_connect_failed', 2]);
  assert.match(over!.reason!, /^connect ECONNREFUSED 127\.0\.0\.1:\d+$/);

  const nobody = await start(context, []);
  assert.equal(await endOf(connect(nobody.port, '127.0.0.1')), 'ECONNRESET');
  const [alone] = await nobody.untilOver(1);
  assert.deepEqual([alone!.errorCode, alone!.reason], ['no_endpoint', undefined]);
});

test('an endpoint that never answers is given up after connectTimeout, on the clock', async (context) => {
  const clock = new FakeClock();
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  // It accepts, but TLS is never spoken.
  const silent = await origin(context, () => {});
  const tcp = await start(context, [silent.port], { clock, listener: { connectTimeout: '3s' }, upstream: { connectTimeout: '1h', tls: { ca: authority.ca } } });
  const client = await RawClient.connect(tcp.port);
  while (tcp.listener.connectionCount === 0) await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(2_000);
  assert.equal(client.isClosed, false);
  await clock.advance(1_500);
  await client.untilClosed();
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, 'upstream_connect_failed');
});

test('a connection on which nothing passes is closed after idleTimeout; anything that passes, either way, puts it off', async (context) => {
  const clock = new FakeClock();
  const tcp = await start(context, [(await origin(context, echo)).port], { clock, listener: { idleTimeout: '10m' } });
  const client = await RawClient.connect(tcp.port);
  const end = endOf(client.socket);
  await client.send('a').until((text) => text === 'a');
  await clock.advance(9 * 60_000);
  await client.send('b').until((text) => text === 'ab');
  await clock.advance(9 * 60_000);
  await client.send('c').until((text) => text === 'abc');
  await clock.advance(10 * 60_000 + 1_000);
  assert.equal(await end, 'end');
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, 'idle_timeout');
});

test('with idleTimeout 0 a connection may be silent for ever', async (context) => {
  const clock = new FakeClock();
  const tcp = await start(context, [(await origin(context, echo)).port], { clock, listener: { idleTimeout: 0 } });
  const client = await RawClient.connect(tcp.port);
  await client.send('a').until((text) => text === 'a');
  await clock.advance(2 * 3_600_000);
  await client.send('b').until((text) => text === 'ab');
  client.close();
});

test('an upstream that breaks off in the middle is seen to do so, and so is a client', async (context) => {
  let upstreamSide: Socket | undefined;
  const { port } = await origin(context, (socket) => {
    upstreamSide = socket;
    socket.write('half of');
  });
  const tcp = await start(context, [port]);
  const client = await RawClient.connect(tcp.port);
  const end = endOf(client.socket);
  await client.until((text) => text === 'half of');
  upstreamSide!.resetAndDestroy();
  assert.equal(await end, 'ECONNRESET');

  const leaver = await RawClient.connect(tcp.port);
  await leaver.until((text) => text === 'half of');
  const seen = endOf(upstreamSide!);
  leaver.socket.resetAndDestroy();
  assert.equal(await seen, 'ECONNRESET');
  assert.deepEqual((await tcp.untilOver(2)).map(({ errorCode }) => errorCode), ['upstream_truncated', 'client_closed']);
});

test('a client that leaves while an endpoint is sought ends the search', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  let reached: (() => void) | undefined;
  const arrived = new Promise<void>((resolve) => (reached = resolve));
  let left: (() => void) | undefined;
  const gone = new Promise<void>((resolve) => (left = resolve));
  const silent = await origin(context, (socket) => {
    reached!();
    socket.resume().on('close', () => left!());
    socket.on('end', () => socket.end());
  });
  const tcp = await start(context, [silent.port], { upstream: { connectTimeout: '1h', tls: { ca: authority.ca } } });
  const client = await RawClient.connect(tcp.port);
  await arrived;
  client.socket.resetAndDestroy();
  await gone;
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, 'client_closed');
});

test('connections beyond maxConnections are closed at once, each is reported, and those before them go on', async (context) => {
  const refusals: unknown[] = [];
  const tcp = await start(context, [(await origin(context, echo)).port], { listener: { maxConnections: 2 }, onRefusal: (limit, client) => refusals.push([limit, client]) });
  const [first, second] = [await RawClient.connect(tcp.port), await RawClient.connect(tcp.port)];
  for (const client of [first, second]) await client.send('x').until((text) => text === 'x');
  assert.equal(await endOf(connect(tcp.port, '127.0.0.1')), 'ECONNRESET');
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, 'overloaded');
  first.socket.end();
  await tcp.untilOver(2);
  const third = await RawClient.connect(tcp.port);
  await third.send('y').until((text) => text === 'y');
  assert.equal(await endOf(connect(tcp.port, '127.0.0.1')), 'ECONNRESET');
  assert.deepEqual(refusals, [['maxConnections', '127.0.0.1'], ['maxConnections', '127.0.0.1']]);
  for (const client of [second, third]) client.close();
});

test('connections that have not shaken hands count too', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const tcp = await start(context, [(await origin(context, echo)).port], { listener: { maxConnections: 2 }, listen: { tls: await authority.issue('server', { ip: ['127.0.0.1'] }) } });
  const silent = [await RawClient.connect(tcp.port), await RawClient.connect(tcp.port)];
  assert.equal(await endOf(connect(tcp.port, '127.0.0.1')), 'ECONNRESET');
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, 'overloaded');
  for (const client of silent) client.close();
});

test('handshakes on a Unix domain socket are kept apart, though its clients have no addresses', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const files = await authority.issue('server', { ip: ['127.0.0.1'] });
  const directory = mkdtempSync(join(tmpdir(), 'tcp-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'listener');
  const clock = new FakeClock();
  await start(context, [(await origin(context, echo)).port], { clock, listener: { handshakeTimeout: '3s', idleTimeout: '1h' }, listen: { host: undefined, port: undefined, path, tls: files } });
  const raw = connect(path);
  await once(raw, 'connect');
  const others = [connect(path), connect(path)];
  for (const other of others) await once(other, 'connect');
  others[0]!.destroy();
  const client = connectTls({ socket: raw, host: '127.0.0.1', ca: readFileSync(authority.ca) });
  await once(client, 'secureConnect');
  client.write('hello');
  assert.equal(String((await once(client, 'data'))[0]), 'hello');
  // Only the one that has said nothing is late.
  const closed = once(others[1]!.resume(), 'close');
  await clock.advance(4_000);
  await closed;
  client.write('still here');
  assert.equal(String((await once(client, 'data'))[0]), 'still here');
  client.destroy();
});

test('an endpoint gets no more connections than it may have, and counts those it has', async (context) => {
  const tcp = await start(context, [(await origin(context, echo)).port], { upstream: { maxConnections: 1 } });
  const first = await RawClient.connect(tcp.port);
  await first.send('x').until((text) => text === 'x');
  const [endpoint] = tcp.upstream.endpoints;
  assert.deepEqual([endpoint!.inFlight, endpoint!.pool.size], [1, 1]);
  await endOf(connect(tcp.port, '127.0.0.1'));
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, 'upstream_queue_full');
  first.socket.end();
  await tcp.untilOver(2);
  assert.deepEqual([endpoint!.inFlight, endpoint!.pool.size], [0, 0]);
});

test('a balancer that goes by a header goes by the client’s address instead', async (context) => {
  const origins = await Promise.all([1, 2, 3, 4].map(() => origin(context, echo)));
  for (const hash of [{ header: 'x-user' }, { cookie: 'user' }, 'path', 'ip']) {
    const tcp = await start(context, origins.map(({ port }) => port), { listen: { proxyProtocol: { from: ['127.0.0.1'] } }, upstream: { balance: { algorithm: 'ring-hash', hash } } });
    const endpointOf = async (address: string, count: number): Promise<string> => {
      const client = await RawClient.connect(tcp.port);
      await client.send(`PROXY TCP4 ${address} 192.0.2.1 1 2\r\nx`).until((text) => text === 'x');
      client.socket.end();
      return (await tcp.untilOver(count))[count - 1]!.endpoint!;
    };
    const seen = new Set<string>();
    for (let index = 0; index < 12; index++) {
      const first = await endpointOf(`192.0.2.${index}`, index * 2 + 1);
      assert.equal(await endpointOf(`192.0.2.${index}`, index * 2 + 2), first);
      seen.add(first);
    }
    assert.ok(seen.size > 1, `${JSON.stringify(hash)} sends everybody to one endpoint`);
  }
});

test('a listed peer says in the PROXY protocol who the client is, and the endpoint is told', async (context) => {
  for (const version of [1, 2] as const) {
    const headers: (string | undefined)[] = [];
    const { port } = await origin(context, (socket) => {
      socket.once('data', (data) => {
        const header = parseProxyHeader(data)!;
        headers.push(`${header.source} ${header.sourcePort}`);
        socket.end(data.subarray(header.length));
      });
    });
    const tcp = await start(context, [port], { listen: { proxyProtocol: { from: ['127.0.0.0/8'] } }, listener: { sendProxyProtocol: version } });
    const client = await RawClient.connect(tcp.port);
    // The header in pieces, and the first bytes with its last.
    client.send('PROXY TCP4 192.0.2.7 ');
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(await client.send('192.0.2.1 4711 5432\r\nhello').untilClosed(), 'hello');
    assert.deepEqual(headers, ['192.0.2.7 4711']);
    assert.equal((await tcp.untilOver(1))[0]!.clientAddress, '192.0.2.7');
  }
});

test('what should begin with the PROXY protocol and does not is closed and reported, and what never begins is so on the clock', async (context) => {
  const clock = new FakeClock();
  const bad: string[] = [];
  let reached = 0;
  const { port } = await origin(context, () => reached++);
  const tcp = await start(context, [port], { clock, listen: { proxyProtocol: { from: ['127.0.0.1'] } }, listener: { handshakeTimeout: '5s' }, onBadHeader: (reason, peer) => bad.push(`${peer}: ${reason}`) });
  const rude = await RawClient.connect(tcp.port);
  assert.equal(await rude.send('GET / HTTP/1.1\r\n\r\n').untilClosed(), '');
  const silent = await RawClient.connect(tcp.port);
  while (clock.pending === 0) await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(6_000);
  await silent.untilClosed();
  assert.equal(reached, 0);
  assert.deepEqual(bad, ['127.0.0.1: no PROXY protocol header', '127.0.0.1: no PROXY protocol header came in time']);
});

test('TLS is taken off at the listener and put on towards the endpoint, each direction still ends by itself', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const files = await authority.issue('server', { dns: ['db.example'], ip: ['127.0.0.1'] });
  const inner = await origin(context, (socket) => {
    let asked = '';
    socket.on('data', (data) => (asked += data.toString()));
    socket.on('end', () => socket.end(asked.toUpperCase()));
  });
  const far = await start(context, [inner.port], { listen: { tls: { ...files, clientAuth: { ca: authority.ca } } } });
  const near = await start(context, [far.port], { upstream: { tls: { ca: authority.ca, ...files } } });
  const client = await RawClient.connect(near.port, { allowHalfOpen: true });
  client.send('through two proxies').socket.end();
  assert.equal(await client.untilClosed(), 'THROUGH TWO PROXIES');

  // Nobody gets in without a certificate.
  const stranger = connectTls({ port: far.port, host: '127.0.0.1', ca: [], rejectUnauthorized: false });
  await new Promise((resolve) => stranger.on('error', () => {}).once('close', resolve));
  // And an endpoint that cannot be verified gets nothing.
  const unverified = await start(context, [far.port], { upstream: { tls: files } });
  assert.equal(await endOf(connect(unverified.port, '127.0.0.1')), 'ECONNRESET');
  assert.equal((await unverified.untilOver(1))[0]!.errorCode, 'upstream_tls_failed');
});

test('what breaks off on one side of a TLS pair is seen to break off on the other', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const files = await authority.issue('server', { ip: ['127.0.0.1'] });
  let upstreamSide: Socket | undefined;
  const inner = await origin(context, (socket) => {
    upstreamSide = socket;
    socket.on('error', () => {}).write('half of');
  });
  const far = await start(context, [inner.port], { listen: { tls: files } });
  const near = await start(context, [far.port], { upstream: { tls: { ca: authority.ca } } });
  const client = await RawClient.connect(near.port);
  const end = endOf(client.socket);
  await client.until((text) => text === 'half of');
  upstreamSide!.resetAndDestroy();
  assert.equal(await end, 'ECONNRESET');

  const leaver = await RawClient.connect(near.port);
  await leaver.until((text) => text === 'half of');
  const seen = endOf(upstreamSide!);
  leaver.socket.resetAndDestroy();
  assert.equal(await seen, 'ECONNRESET');
});

test('a client that leaves before hands are shaken is let go at once, and one that has shaken them may end its side', { timeout: 20_000 }, async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const files = await authority.issue('server', { ip: ['127.0.0.1'] });
  const tcp = await start(context, [(await origin(context, (socket) => void socket.resume().once('end', () => socket.end('whole')))).port], { listener: { handshakeTimeout: '1h' }, listen: { tls: files } });
  for (const said of ['', '\x16\x03\x01']) {
    const early = await RawClient.connect(tcp.port, { allowHalfOpen: true });
    early.send(said).socket.end();
    assert.equal(await early.untilClosed(), '');
  }
  const client = connectTls({ port: tcp.port, host: '127.0.0.1', ca: readFileSync(authority.ca) }, () => client.end('question'));
  client.allowHalfOpen = true;
  assert.equal(String((await once(client, 'data'))[0]), 'whole');
});

test('a protocol that asks for one of its own by ALPN gets TLS all the same', async (context) => {
  const authority = await TestAuthority.create();
  context.after(() => authority.remove());
  const files = await authority.issue('server', { ip: ['127.0.0.1'] });
  const tcp = await start(context, [(await origin(context, echo)).port], { listen: { tls: files } });
  const client = connectTls({ port: tcp.port, host: '127.0.0.1', ca: readFileSync(authority.ca), ALPNProtocols: ['postgresql'] });
  await once(client, 'secureConnect');
  client.write('hello');
  assert.equal(String((await once(client, 'data'))[0]), 'hello');
  client.destroy();
  // And towards an endpoint nothing is asked for.
  let asked: string | false | undefined;
  const server = createTlsServer({ key: readFileSync(files.key), cert: readFileSync(files.cert), ALPNProtocols: ['http/1.1'] }, (socket) => {
    asked = socket.alpnProtocol ?? undefined;
    socket.end('x');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  const towards = await start(context, [(server.address() as { port: number }).port], { upstream: { tls: { ca: authority.ca } } });
  assert.equal(await (await RawClient.connect(towards.port)).untilClosed(), 'x');
  assert.equal(asked, false);
});

test('Unix domain sockets serve on both sides', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'tcp-test-'));
  context.after(() => rmSync(directory, { recursive: true }));
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket)).listen(join(directory, 'db'));
  await once(server, 'listening');
  context.after(() => server.close());
  const tcp = await start(context, [`unix:${join(directory, 'db')}`], { listen: { port: undefined, path: join(directory, 'front') } });
  const client = connect(join(directory, 'front'));
  client.end('hello');
  assert.equal(String((await once(client, 'data'))[0]), 'hello');
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, undefined);
});

test('a drain takes no new connections, lets those that are there go on, and a close breaks them off', async (context) => {
  const tcp = await start(context, [(await origin(context, echo)).port]);
  const [stays, leaves] = [await RawClient.connect(tcp.port), await RawClient.connect(tcp.port)];
  for (const client of [stays, leaves]) await client.send('a').until((text) => text === 'a');
  let isDrained = false;
  const drained = tcp.listener.drain().then(() => (isDrained = true));
  await assert.rejects(RawClient.connect(tcp.port), /ECONNREFUSED/);
  await stays.send('b').until((text) => text === 'ab');
  leaves.socket.end();
  await tcp.untilOver(1);
  assert.equal(isDrained, false);
  const end = endOf(stays.socket);
  await tcp.listener.close();
  await drained;
  assert.equal(await end, 'ECONNRESET');
  assert.deepEqual((await tcp.untilOver(2)).map(({ errorCode }) => errorCode), [undefined, 'shut_down']);
});

test('an endpoint that is the proxy itself is recognised, and does not loop', async (context) => {
  let own = 0;
  let made = 0;
  const server = createServer((socket) => {
    made++;
    socket.on('error', () => {}).resume();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  context.after(() => server.close());
  own = (server.address() as { port: number }).port;
  const tcp = await start(context, [own], { isOwnAddress: (host, port) => host === '127.0.0.1' && port === own });
  assert.equal(await endOf(connect(tcp.port, '127.0.0.1')), 'ECONNRESET');
  assert.equal((await tcp.untilOver(1))[0]!.errorCode, 'loop_detected');
  assert.ok(made <= 1);
});
