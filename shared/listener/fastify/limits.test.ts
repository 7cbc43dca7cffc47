import assert from 'node:assert/strict';
import dns from 'node:dns';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { constants } from 'node:http2';
import { connect as connectTcp, type Socket } from 'node:net';
import { after, before, describe, mock, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import type { LimitsConfig } from '../../config/sections.js';
import type { ServerTlsConfig } from '../../tls/config.js';
import { TestAuthority } from '../../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { flag, frame, FramePeer, frameType, headers, preface, requestFields } from '../../../tests/support/http2-frames.js';
import { httpOrigin, readBody, tcpOrigin, type Origin } from '../../../tests/support/origin.js';
import { until } from '../../../tests/support/until.js';
import { FastifyListener } from './fastify-listener.js';

/** A limit that is not kept leaves a test waiting. */
const options = { timeout: 20_000 };
/** A limit that a test waits for (ms); a handshake on a busy machine keeps it. */
const shortMs = 500;
const get = 'GET / HTTP/1.1\r\nHost: shop\r\n\r\n';
const fields = (changes: Readonly<Record<string, string | undefined>> = {}) => requestFields({ ':scheme': 'https', ...changes });
const upload = headers(1, fields({ ':method': 'POST' }), flag.endHeaders);
const opening = [preface, frame(frameType.settings, 0, 0)];

describe('limits behind Fastify', () => {
  let authority: TestAuthority;
  let tls: ServerTlsConfig;
  let origin: Origin;
  before(async () => {
    authority = await TestAuthority.create();
    tls = { ...(await authority.issue('shop', { dns: ['shop.test'] })), certificates: [], minVersion: 'TLSv1.2' };
    origin = await httpOrigin(async (request, response) => {
      await readBody(request).catch(() => '');
      if (request.url === '/slow') setTimeout(() => response.end('slow'), 2 * shortMs);
      else response.end('ok');
    });
  });
  after(async () => {
    await origin.close();
    authority.remove();
  });

  const start = (limits: Partial<LimitsConfig>, endpoint = origin, onFlood?: (reason: string) => void): Promise<TestEngine> =>
    startEngine([endpoint.address], { kind: FastifyListener, tls, limits, ...(onFlood && { onFlood }) });

  async function dial({ port }: TestEngine, protocol: 'h2' | 'http/1.1'): Promise<Socket> {
    const socket = connectTls({ port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca), ALPNProtocols: [protocol] });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    return socket;
  }

  const peerOf = async (engine: TestEngine): Promise<FramePeer> => new FramePeer(await dial(engine, 'h2')).send(...opening);

  /** What comes until the proxy closes, which may be a reset: it has closed on what is still sent to it. */
  async function allOf(socket: Socket): Promise<string> {
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    if (!socket.closed) await new Promise((resolve) => socket.once('close', resolve));
    return text;
  }

  const silences: readonly (readonly [name: string, protocol: 'h2' | 'http/1.1', limits: Partial<LimitsConfig>, sent: readonly (Buffer | string)[], answer: RegExp])[] = [
    ['a connection of HTTP/1.1 that says nothing', 'http/1.1', { headTimeout: shortMs }, [], /^$/],
    ['half a head', 'http/1.1', { headTimeout: shortMs }, ['GET / HTTP/1.1\r\nHos'], /^HTTP\/1\.1 408 [^]*request_timeout\r\n/],
    ['a connection of HTTP/1.1 that is idle', 'http/1.1', { idleTimeout: shortMs }, [get], /^HTTP\/1\.1 200 [^]*ok$/],
    ['a connection of HTTP/2 that says nothing', 'h2', { headTimeout: shortMs }, [], /^/],
    ['a session without a request', 'h2', { headTimeout: shortMs }, opening, /^/],
    ['fields that do not end', 'h2', { headTimeout: shortMs }, [...opening, headers(1, fields(), flag.endStream)], /^/],
    ['a session that is idle', 'h2', { idleTimeout: shortMs }, [...opening, headers(1, fields())], /ok/],
  ];
  for (const [name, protocol, limits, sent, answer] of silences) {
    test(`closes ${name}`, options, async () => {
      const engine = await start(limits);
      const socket = await dial(engine, protocol);
      for (const part of sent) socket.write(part);
      assert.match(await allOf(socket), answer);
      await until(() => engine.listener.connectionCount === 0);
      await engine.close();
    });
  }

  test('closes a connection of HTTP/1.1 on which nothing comes but empty lines', options, async () => {
    const engine = await start({ idleTimeout: shortMs, headTimeout: shortMs });
    const socket = await dial(engine, 'http/1.1');
    socket.write(get);
    const pace = setInterval(() => socket.write('\r\n'), 20);
    const text = await allOf(socket);
    clearInterval(pace);
    assert.match(text, /^HTTP\/1\.1 200 [^]*ok$/);
    await engine.close();
  });

  test('closes a connection that does not begin its TLS handshake', options, async () => {
    const engine = await start({ headTimeout: shortMs });
    const socket = connectTcp(engine.port, '127.0.0.1');
    assert.equal(await allOf(socket), '');
    await engine.close();
  });

  test('a connection whose TLS handshake is still to come outlives a drain, but not the end', options, async () => {
    const engine = await start({ headTimeout: 60_000 });
    const silent = connectTcp(engine.port, '127.0.0.1');
    await once(silent, 'connect');
    // Connections are accepted in the order in which they come.
    const last = await dial(engine, 'http/1.1');
    await until(() => engine.listener.connectionCount === 1);
    const drained = engine.listener.drain();
    await allOf(last);
    assert.equal(silent.closed, false);
    const closed = allOf(silent);
    await engine.listener.close();
    assert.equal(await closed, '');
    await drained;
    await engine.close();
  });

  test('a request over HTTP/1.1 that is not over yet has no limit but its own', options, async () => {
    const engine = await start({ headTimeout: shortMs, idleTimeout: shortMs });
    const socket = await dial(engine, 'http/1.1');
    socket.write('GET /slow HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n');
    assert.match(await allOf(socket), /^HTTP\/1\.1 200 [^]*slow$/);
    await engine.close();
  });

  test('an HTTP/1.1 connection has so many requests, and the last answer says so', options, async () => {
    const engine = await start({ maxRequestsPerConnection: 2 });
    const socket = await dial(engine, 'http/1.1');
    socket.write(get.repeat(3));
    const text = await allOf(socket);
    assert.equal(text.match(/HTTP\/1\.1 200 /g)?.length, 2, text);
    assert.match(text.slice(text.lastIndexOf('HTTP/1.1')), /connection: close/i);
    await engine.close();
  });

  test('a session has so many requests, and is told to go with the last', options, async () => {
    const engine = await start({ maxRequestsPerConnection: 2 });
    const peer = await peerOf(engine);
    peer.send(headers(1, fields()), headers(3, fields({ ':path': '/slow' })));
    const goaway = await peer.until(({ type }) => type === frameType.goaway);
    assert.deepEqual([goaway.payload.readUInt32BE(0), goaway.payload.readUInt32BE(4)], [3, constants.NGHTTP2_NO_ERROR]);
    await peer.untilClosed();
    assert.ok(peer.frames.some(({ stream, payload }) => stream === 3 && payload.toString() === 'slow'), 'the last was not answered');
    await engine.close();
  });

  test('a client has so many connections, of whatever protocol', options, async () => {
    const engine = await start({ maxConnectionsPerClient: 2 });
    const first = await dial(engine, 'http/1.1');
    const second = await peerOf(engine);
    await second.until(({ type }) => type === frameType.settings);
    await assert.rejects(dial(engine, 'http/1.1'), { code: 'ECONNRESET' });
    second.send(headers(1, fields()));
    await second.until(({ type }) => type === frameType.headers);
    first.destroy();
    second.close();
    await engine.close();
  });

  test('as many fields and bytes as are configured are taken over HTTP/1.1, and none is silently dropped', options, async () => {
    const patient = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n')));
    const engine = await start({ maxHeaders: 1_500, maxHeadBytes: 30_000 }, patient);
    for (const [field, count, status] of [['X: 1', 1_400, 200], ['X: 1', 1_600, 431], ['X: 1', 3_000, 431], ['X: 0123456789', 1_400, 200], ['X: 0123456789012345678901234567890', 1_400, 431]] as const) {
      const socket = await dial(engine, 'http/1.1');
      socket.write(`GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n${`${field}\r\n`.repeat(count)}\r\n`);
      assert.match(await allOf(socket), new RegExp(`^HTTP/1\\.1 ${status} `), `${count} times ${field}`);
    }
    await engine.close();
    await patient.close();
  });

  const http2 = { maxConcurrentStreams: 100, streamIdleTimeout: 0, resetBurst: 50, resetsPerSecond: 1, controlFrameBurst: 100, controlFramesPerSecond: 1 };

  test('streams beyond those that are configured are refused', options, async () => {
    const engine = await start({ http2: { ...http2, maxConcurrentStreams: 2 } });
    const peer = await peerOf(engine);
    peer.send(...[1, 3, 5].map((stream) => headers(stream, fields({ ':path': '/slow' }))));
    const reset = await peer.until(({ type, stream }) => type === frameType.reset && stream === 5);
    assert.equal(reset.payload.readUInt32BE(), constants.NGHTTP2_REFUSED_STREAM);
    peer.close();
    await engine.close();
  });

  const floods: readonly (readonly [name: string, reason: string, each: (stream: number) => Buffer[]])[] = [
    ['requests that are taken back', 'resets', (stream) => [headers(stream, fields({ ':path': '/slow' })), frame(frameType.reset, 0, stream, Buffer.from([0, 0, 0, constants.NGHTTP2_CANCEL]))]],
    ['PING frames', 'control_frames', () => [frame(frameType.ping, 0, 0, Buffer.alloc(8))]],
    ['SETTINGS frames', 'control_frames', () => [frame(frameType.settings, 0, 0)]],
  ];
  for (const [name, reason, each] of floods) {
    test(`a flood of ${name} ends the session`, options, async () => {
      const reasons: string[] = [];
      const engine = await start({ http2 }, origin, (seen) => reasons.push(seen));
      const peer = await peerOf(engine);
      for (let from = 1; !peer.isClosed; from += 100) {
        peer.send(...Array.from({ length: 50 }, (_, index) => each(from + 2 * index)).flat());
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      assert.deepEqual(reasons, [reason]);
      assert.ok(engine.finished.length <= 200, `${engine.finished.length} requests were begun`);
      await engine.close();
    });
  }

  describe('an answer of which the client takes nothing', () => {
    let endless: Origin;
    before(async () => {
      endless = await httpOrigin((_request, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(65_536)));
        };
        response.on('drain', more);
        more();
      });
    });
    after(() => endless.close());

    test('is cut off, over HTTP/1.1', options, async () => {
      const engine = await start({ writeTimeout: 100 }, endless);
      const socket = await dial(engine, 'http/1.1');
      socket.pause();
      socket.write(get);
      assert.equal((await engine.untilFinished(1))[0]!.status, 200);
      socket.destroy();
      await engine.close();
    });

    test('is cut off, of a stream of HTTP/2 alone', options, async () => {
      const engine = await start({ writeTimeout: 100 }, endless);
      const peer = await peerOf(engine);
      peer.send(headers(1, fields()));
      const reset = await peer.until(({ type, stream }) => type === frameType.reset && stream === 1);
      assert.equal(reset.payload.readUInt32BE(), constants.NGHTTP2_CANCEL);
      await engine.untilFinished(1);
      assert.equal(engine.listener.connectionCount, 1);
      peer.close();
      await engine.close();
    });

    test('is not, while the client takes a little now and then', options, async () => {
      const engine = await start({ writeTimeout: 200 }, endless);
      const peer = await peerOf(engine);
      peer.send(headers(1, fields()));
      const took = (): number => peer.frames.reduce((sum, { type, payload }) => sum + (type === frameType.data ? payload.length : 0), 0);
      const more = Buffer.from([0, 1, 0, 0]);
      for (let round = 1; round <= 10; round++) {
        await peer.until(() => took() >= 65_535 * round);
        await new Promise((resolve) => setTimeout(resolve, 60));
        peer.send(frame(frameType.windowUpdate, 0, 0, more), frame(frameType.windowUpdate, 0, 1, more));
      }
      assert.equal(engine.finished.length, 0);
      peer.close();
      await engine.close();
    });
  });

  const errors: readonly (readonly [name: string, frames: readonly Buffer[]])[] = [
    ['DATA on stream 0', [frame(frameType.data, 0, 0, 'x')]],
    ['fields that cannot be decompressed', [frame(frameType.headers, flag.endStream | flag.endHeaders, 3, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff]))]],
    ['a frame that is too long', [frame(frameType.data, 0, 1, Buffer.alloc(20_000))]],
    ['a CONTINUATION of nothing', [frame(frameType.continuation, flag.endHeaders, 1)]],
    ['an acknowledgement of settings that has a payload', [frame(frameType.settings, flag.ack, 0, 'abcdef')]],
  ];
  for (const [name, frames] of errors) {
    test(`a client that leaves after an error of its connection, ${name}, leaves nothing behind`, options, async () => {
      let arrived!: () => void;
      const untilArrived = new Promise<void>((resolve) => (arrived = resolve));
      const deaf = await tcpOrigin((socket) => socket.once('data', arrived));
      const engine = await start({ bodyIdleTimeout: 100, writeTimeout: 100, idleTimeout: 100 }, deaf);
      const peer = await peerOf(engine);
      peer.send(upload, frame(frameType.data, 0, 1, 'half'));
      await untilArrived;
      peer.send(...frames);
      await peer.until(({ type }) => type === frameType.goaway);
      peer.close();
      await engine.untilFinished(1);
      await engine.listener.drain();
      await until(() => engine.listener.connectionCount === 0);
      await engine.close();
      await deaf.close();
    });
  }

  test('a client that resets its connection after an error of it is gone, whatever the limits of what it has open', options, async () => {
    let requests = 0;
    const deaf = await tcpOrigin((socket) => socket.on('data', () => requests++));
    const engine = await start({}, deaf);
    const raw = connectTcp(engine.port, '127.0.0.1');
    const peer = new FramePeer(connectTls({ socket: raw, servername: 'shop.test', ca: readFileSync(authority.ca), ALPNProtocols: ['h2'] }));
    peer.send(...opening, upload, headers(3, fields()));
    await until(() => requests === 2);
    peer.send(frame(frameType.data, 0, 3, 'x'));
    await peer.until(({ type }) => type === frameType.goaway);
    raw.resetAndDestroy();
    const exchanges = await engine.untilFinished(2);
    assert.deepEqual(exchanges.map(({ status, errorCode }) => [status, errorCode]), [[499, 'client_closed'], [499, 'client_closed']]);
    await until(() => engine.listener.connectionCount === 0);
    await engine.close();
    await deaf.close();
  });

  test('localhost is one address, which has the limits', options, async () => {
    const { lookup } = dns;
    const mocked = mock.method(dns, 'lookup', (host: string, asked: dns.LookupOptions, done: (error: null, found: object[]) => void) => (asked.all ? done(null, ['127.0.0.1', '127.0.0.2'].map((address) => ({ address, family: 4 }))) : lookup(host, asked, done as never)));
    const engine = await startEngine([origin.address], { kind: FastifyListener, tls, listen: { host: 'localhost' } });
    mocked.mock.restore();
    const reached: string[] = [];
    for (const host of ['127.0.0.1', '127.0.0.2']) {
      const socket = connectTcp(engine.port, host);
      if (await once(socket, 'connect').then(() => true, () => false)) reached.push(host);
      socket.destroy();
    }
    assert.deepEqual(reached, ['127.0.0.1']);
    await engine.close();
  });

});
