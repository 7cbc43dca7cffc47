import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream, type ClientSessionRequestOptions } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { createConnection } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { limitsSchema } from '../../config/sections.js';
import { Headers } from '../../http/headers.js';
import type { Layer } from '../../http/service.js';
import type { ServerTlsConfig } from '../../tls/config.js';
import { TestAuthority } from '../../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { flag, frame, FramePeer, frameType, headers, preface, requestFields } from '../../../tests/support/http2-frames.js';
import { httpOrigin, readBody, tcpOrigin, type Origin } from '../../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../../tests/support/raw-client.js';
import { until, untilStill } from '../../../tests/support/until.js';

const listen = { http2: 'engine' } as const;

interface Answer {
  readonly status: number;
  readonly fields: Record<string, unknown>;
  readonly body: string;
  readonly trailers: Record<string, unknown> | undefined;
  readonly informed: number[];
}

/** One request on a session; rejects when its stream is reset. */
async function ask(session: ClientHttp2Session, fields: Readonly<Record<string, string | string[]>> = {}, body?: string, options: ClientSessionRequestOptions = {}): Promise<Answer> {
  const stream = session.request({ ':path': '/', ':authority': 'shop', ...fields }, { endStream: body === undefined, ...options });
  if (body !== undefined) stream.end(body);
  return answerOf(stream);
}

function answerOf(stream: ClientHttp2Stream): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const informed: number[] = [];
    let fields: Record<string, unknown> = {};
    let trailers: Record<string, unknown> | undefined;
    let text = '';
    stream.on('headers', (early) => informed.push(Number(early[':status'])));
    stream.on('response', (response: Record<string, unknown>) => (fields = response));
    stream.on('trailers', (last: Record<string, unknown>) => (trailers = last));
    stream.on('data', (data: Buffer) => (text += data.toString()));
    stream.on('error', reject);
    stream.on('close', () => (stream.rstCode === 0 ? resolve({ status: Number(fields[':status']), fields, body: text, trailers, informed }) : reject(Object.assign(new Error(`reset with ${stream.rstCode}`), { rstCode: stream.rstCode }))));
  });
}

describe('HTTP/2 by prior knowledge', () => {
  let origin: Origin;
  let engine: TestEngine;
  let session: ClientHttp2Session;
  before(async () => {
    origin = await httpOrigin(async (request, response) => {
      if (request.url === '/trailers') {
        response.writeHead(200, { Trailer: 'X-Sum' });
        response.write('data');
        response.addTrailers({ 'X-Sum': '42' });
        response.end();
        return;
      }
      const body = await readBody(request).catch(() => undefined);
      if (body === undefined) return;
      if (request.url === '/103') response.writeEarlyHints({ link: '</a.css>; rel=preload' });
      if (request.url === '/204') {
        response.writeHead(204).end();
        return;
      }
      response.setHeader('Set-Cookie', ['a=1', 'b=2']);
      response.setHeader('Connection', 'x-gone');
      response.setHeader('X-Gone', '1');
      response.end(JSON.stringify({ method: request.method, url: request.url, fields: request.rawHeaders, trailers: request.trailers, body }));
    });
    engine = await startEngine([origin.address], { listen });
    session = connect(`http://127.0.0.1:${engine.port}`);
  });
  after(async () => {
    session.destroy();
    await engine.close();
    await origin.close();
  });

  const seen = ({ body }: Answer) => {
    const { fields, ...rest } = JSON.parse(body) as { method: string; url: string; fields: string[]; trailers: object; body: string };
    const pairs: string[] = [];
    for (let index = 0; index < fields.length; index += 2) pairs.push(`${fields[index]!.toLowerCase()}: ${fields[index + 1]}`);
    return { ...rest, fields: pairs };
  };

  test('goes upstream as HTTP/1.1, and back', async () => {
    const answer = await ask(session, { ':path': '/a/../b?c', 'x-one': '1' });
    const { method, url, fields } = seen(answer);
    assert.deepEqual([answer.status, method, url], [200, 'GET', '/b?c']);
    assert.ok(fields.includes('host: shop') && fields.includes('x-one: 1'));
    assert.deepEqual(answer.fields['set-cookie'], ['a=1', 'b=2']);
    assert.deepEqual([answer.fields['x-gone'], answer.fields['connection']], [undefined, undefined]);
    assert.equal((await engine.untilFinished(1)).at(-1)!.httpVersion, '2');
  });

  test('carries bodies, with and without a length', async () => {
    for (const fields of [{}, { 'content-length': '5' }]) {
      const { body, fields: sent } = seen(await ask(session, { ':method': 'POST', ...fields }, 'hello'));
      assert.equal(body, 'hello');
      assert.ok(sent.includes('content-length' in fields ? 'content-length: 5' : 'transfer-encoding: chunked'));
    }
  });

  test('joins the crumbs of a cookie, and says TE as HTTP/1.1 does', async () => {
    const { fields } = seen(await ask(session, { cookie: ['a=1', 'b=2'], te: 'trailers' }));
    assert.ok(fields.includes('cookie: a=1; b=2'), fields.join('\n'));
    assert.ok(fields.includes('te: trailers') && fields.includes('connection: te'.replace('te', 'TE')), fields.join('\n'));
  });

  test('passes trailers on in both directions', async () => {
    assert.deepEqual({ ...(await ask(session, { ':path': '/trailers' })).trailers }['x-sum'], '42');
    const stream = session.request({ ':path': '/', ':method': 'POST', ':authority': 'shop' }, { waitForTrailers: true });
    stream.once('wantTrailers', () => stream.sendTrailers({ 'x-sum': '7', host: 'evil' }));
    stream.end('x');
    assert.deepEqual(seen(await answerOf(stream)).trailers, { 'x-sum': '7' });
  });

  test('passes interim answers on', async () => {
    assert.deepEqual((await ask(session, { ':path': '/103' })).informed, [103]);
  });

  test('gives fields that are named like what every object has, also in trailers', async () => {
    const names = 'constructor: a\r\n__proto__: b\r\ntoString: c\r\n';
    const odd = await tcpOrigin((socket) => socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n${names}\r\n1\r\nx\r\n0\r\n${names}\r\n`)));
    const own = await startEngine([odd.address], { listen });
    const client = connect(`http://127.0.0.1:${own.port}`);
    const stream = client.request({ ':path': '/', ':authority': 'shop' });
    const blocks: string[][] = [];
    for (const event of ['response', 'trailers']) stream.once(event, (_fields: unknown, _flags: number, raw: string[]) => blocks.push(raw));
    stream.resume();
    await once(stream, 'close');
    const valuesOf = (raw: readonly string[], wanted: string): string[] => raw.filter((_text, index) => index % 2 === 1 && raw[index - 1] === wanted);
    assert.deepEqual(blocks.map((raw) => ['constructor', '__proto__', 'tostring'].map((name) => valuesOf(raw, name))), Array(2).fill([['a'], ['b'], ['c']]));
    client.destroy();
    await own.close();
    await odd.close();
  });

  test('drops the length of an answer that has none', async () => {
    const odd = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n')));
    const own = await startEngine([odd.address], { listen });
    const client = connect(`http://127.0.0.1:${own.port}`);
    const { status, informed, fields } = await ask(client);
    assert.deepEqual([status, informed, fields['content-length']], [204, [103], undefined]);
    client.destroy();
    await own.close();
    await odd.close();
  });

  test('gives heads that are longer than what Node sends by default', async () => {
    const fields = Array.from({ length: 90 }, (_, index) => `X-${index}: ${'a'.repeat(1_000)}\r\n`).join('');
    const long = await tcpOrigin((socket) => socket.once('data', () => socket.end(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 2\r\n\r\nok`)));
    const own = await startEngine([long.address], { listen, upstream: { maxHeadBytes: 262_144 } });
    const client = connect(`http://127.0.0.1:${own.port}`, { settings: { maxHeaderListSize: 262_144 } });
    const { status, body, fields: got } = await ask(client);
    assert.deepEqual([status, body, got['x-89']], [200, 'ok', 'a'.repeat(1_000)]);
    client.destroy();
    await own.close();
    await long.close();
  });

  test('sends nothing behind 205, whatever comes', async () => {
    const odd = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 205 Reset Content\r\nContent-Length: 2\r\n\r\nok')));
    const own = await startEngine([odd.address], { listen });
    const client = connect(`http://127.0.0.1:${own.port}`);
    const { status, fields } = await ask(client);
    assert.deepEqual([status, fields['content-length']], [205, undefined]);
    client.destroy();
    await own.close();
    await odd.close();
  });

  test('drops interim answers that its client does not take', async () => {
    let isInformed = false;
    const early = 5_000;
    const layer: Layer = (next) => async (request, exchange) => {
      for (let index = 0; index < early; index++) {
        exchange.inform!(103, Headers.of({ Link: 'x'.repeat(4_000) }));
        await new Promise((resolve) => setImmediate(resolve));
      }
      isInformed = true;
      return next(request, exchange);
    };
    const own = await startEngine([origin.address], { listen, layer });
    const peer = await FramePeer.connect(own.port);
    peer.socket.pause();
    peer.send(headers(1, requestFields()));
    await until(() => isInformed);
    peer.socket.resume();
    await peer.until(({ type, stream }) => type === frameType.data && stream === 1);
    const informed = peer.frames.filter(({ type }) => type === frameType.headers).length - 1;
    assert.ok(informed > 0 && informed < early, `${informed} of ${early}`);
    peer.close();
    await own.close();
  });

  test('sends no body where there is none', async () => {
    assert.equal((await ask(session, { ':path': '/204' })).status, 204);
    const head = await ask(session, { ':method': 'HEAD' });
    assert.deepEqual([head.status, head.body], [200, '']);
  });

  test('keeps a hundred requests of one connection apart', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => ask(session, { ':path': `/${index}` })));
    assert.deepEqual(answers.map((answer) => seen(answer).url), Array.from({ length: 100 }, (_, index) => `/${index}`));
  });

  test('serves HTTP/1.1 on the same port, also to a client that is slow to say what it speaks', async () => {
    assert.match(await exchangeRaw(engine.port, 'GET /old HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n'), /^HTTP\/1\.1 200 OK[^]*"url":"\/old"/);
    const client = await RawClient.connect(engine.port);
    for (const part of ['P', 'R', 'OPFIND /slow HTTP/1.1\r\n', 'Host: shop\r\nConnection: close\r\n\r\n']) {
      client.send(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.match(await client.untilClosed(), /^HTTP\/1\.1 200 OK[^]*"method":"PROPFIND"/);
  });

  test('a preface that comes in pieces is one', async () => {
    const peer = new FramePeer(createConnection(engine.port, '127.0.0.1'));
    for (const byte of preface) {
      peer.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    peer.send(frame(frameType.settings, 0, 0), headers(1, requestFields()));
    await peer.until(({ type, stream }) => type === frameType.headers && stream === 1);
    peer.close();
  });

  test('a body that is held back holds its client back, and its neighbours go on', async () => {
    const deaf = await tcpOrigin((socket) => socket.pause());
    const arrived = new EventEmitter();
    let requests = 0;
    const layer: Layer = (next) => (request, exchange) => {
      if (++requests === 2) arrived.emit('two');
      return next(request, exchange);
    };
    const own = await startEngine([deaf.address], { listen, layer });
    const client = connect(`http://127.0.0.1:${own.port}`);
    const stream = client.request({ ':path': '/', ':method': 'POST', ':authority': 'shop' });
    stream.on('error', () => {});
    let sent = 0;
    while (stream.write(Buffer.alloc(65_536)) || (await Promise.race([once(stream, 'drain').then(() => true), pause(200).then(() => false)]))) sent += 65_536;
    assert.ok(sent < 16 * 2 ** 20, `${sent} bytes went into nowhere`);
    const other = client.request({ ':path': '/', ':authority': 'shop' });
    other.on('error', () => {});
    await once(arrived, 'two');
    // Nothing of the stream is being read: its reset must be noticed all the same.
    stream.close(constants.NGHTTP2_CANCEL);
    const at = performance.now();
    const [first] = await own.untilFinished(1);
    assert.ok(performance.now() - at < 50);
    assert.deepEqual([first!.errorCode, own.upstream.endpoints[0]!.inFlight], ['client_closed', 1], 'the request that was given up still has a connection');
    client.destroy();
    await own.untilFinished(2);
    await own.close();
    await deaf.close();
  });

  test('a client that leaves cancels what runs for it within 50 ms, and only that', async () => {
    const gone: (() => void)[] = [];
    let arrived = (): void => {};
    const silent = await httpOrigin((request, response) => {
      if (request.url === '/silent') arrived();
      if (request.url === '/stays') setTimeout(() => response.end('stayed'), 100);
      else request.on('close', () => gone.shift()?.());
      if (request.url === '/begins') response.write('half');
    });
    const own = await startEngine([silent.address], { listen });
    const client = connect(`http://127.0.0.1:${own.port}`);
    const stays = ask(client, { ':path': '/stays' });
    for (const path of ['/silent', '/begins']) {
      const isThere = new Promise<void>((resolve) => (arrived = resolve));
      const stream = client.request({ ':path': path, ':authority': 'shop' });
      stream.on('error', () => {});
      await (path === '/begins' ? once(stream, 'data') : isThere);
      const closed = new Promise<number>((resolve) => gone.push(() => resolve(performance.now())));
      const at = performance.now();
      stream.close(constants.NGHTTP2_CANCEL);
      const took = (await closed) - at;
      assert.ok(took < 50, `it took ${took} ms`);
    }
    assert.equal((await stays).body, 'stayed');
    assert.deepEqual((await own.untilFinished(3)).map(({ errorCode }) => errorCode).sort(), ['client_closed', 'client_closed', undefined]);
    client.destroy();
    await own.close();
    await silent.close();
  });

  test('an answer that breaks off resets its stream, and only that', async () => {
    const broken = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')));
    const own = await startEngine([broken.address], { listen });
    const peer = await FramePeer.connect(own.port);
    peer.send(headers(1, requestFields()));
    const reset = await peer.until(({ type, stream }) => type === frameType.reset && stream === 1);
    assert.equal(reset.payload.readUInt32BE(), constants.NGHTTP2_INTERNAL_ERROR);
    assert.equal(peer.frames.some(({ type, flags, stream }) => stream === 1 && type === frameType.data && (flags & flag.endStream) !== 0), false, 'it looked whole');
    assert.equal((await own.untilFinished(1))[0]!.errorCode, 'upstream_truncated');
    peer.close();
    await own.close();
    await broken.close();
  });

  test('a drain says GOAWAY, lets streams finish and then closes', async () => {
    let arrived!: (finish: () => void) => void;
    const finish = new Promise<() => void>((resolve) => (arrived = resolve));
    const slow = await httpOrigin((_request, response) => arrived(() => response.end('slow')));
    const own = await startEngine([slow.address], { listen });
    const client = connect(`http://127.0.0.1:${own.port}`);
    const idle = connect(`http://127.0.0.1:${own.port}`);
    await once(idle, 'remoteSettings');
    const answer = ask(client);
    const goaway = once(client, 'goaway');
    const release = await finish;
    const drained = own.listener.drain();
    assert.equal(await Promise.race([goaway.then(() => 'told'), answer.then(() => 'answered')]), 'told');
    release();
    assert.equal((await answer).body, 'slow');
    await drained;
    assert.equal(own.listener.connectionCount, 0);
    await own.close();
    await slow.close();
  });

  test('a request body beyond the limit is 413, and its client is told to stop', async () => {
    const own = await startEngine([origin.address], { listen, limits: { maxBodyBytes: 1_000 } });
    for (const length of [undefined, '2000']) {
      const peer = await FramePeer.connect(own.port);
      peer.send(headers(1, requestFields({ ':method': 'POST', 'content-length': length }), flag.endHeaders));
      if (length === undefined) peer.send(frame(frameType.data, 0, 1, Buffer.alloc(600)), frame(frameType.data, 0, 1, Buffer.alloc(600)));
      const answer = await peer.until(({ type, stream }) => type === frameType.data && stream === 1);
      assert.equal(answer.payload.toString(), 'body_too_large');
      assert.equal((await peer.until(({ type, stream }) => type === frameType.reset && stream === 1)).payload.readUInt32BE(), constants.NGHTTP2_NO_ERROR);
      peer.close();
    }
    await own.close();
  });

  const silences: readonly (readonly [name: string, limits: object, sent: readonly Buffer[], code: string])[] = [
    ['a body that stops coming', { bodyIdleTimeout: 60 }, [headers(1, requestFields({ ':method': 'POST' }), flag.endHeaders), frame(frameType.data, 0, 1, 'part')], 'request_timeout'],
    ['a stream on which nothing moves', { http2: { ...limitsSchema.parse({}).http2, streamIdleTimeout: 60 } }, [headers(1, requestFields({ ':method': 'POST', 'content-type': 'application/grpc', ':path': '/silent' }), flag.endHeaders)], 'request_timeout'],
    ['a client that takes nothing of its answer', { writeTimeout: 60 }, [frame(frameType.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])), headers(1, requestFields())], 'client_stalled'],
  ];
  for (const [name, limits, sent, code] of silences) {
    test(`gives up ${name}`, async () => {
      const own = await startEngine([origin.address], { listen, limits });
      const peer = await FramePeer.connect(own.port);
      peer.send(...sent);
      assert.equal((await own.untilFinished(1))[0]!.errorCode, code);
      peer.close();
      await own.close();
    });
  }

  test('gives up a body that stops coming after it was made to wait', async () => {
    const layer: Layer = (next) => async (request, exchange) => {
      await pause(200);
      return next(request, exchange);
    };
    const own = await startEngine([origin.address], { listen, layer, limits: { bodyIdleTimeout: 60 } });
    const peer = await FramePeer.connect(own.port);
    peer.send(headers(1, requestFields({ ':method': 'POST' }), flag.endHeaders), frame(frameType.data, 0, 1, 'part'));
    assert.equal((await own.untilFinished(1))[0]!.errorCode, 'request_timeout');
    peer.close();
    await own.close();
  });

  test('a connection that is idle for too long is told to go, and closed', async () => {
    const own = await startEngine([origin.address], { listen, limits: { idleTimeout: 60 } });
    const client = connect(`http://127.0.0.1:${own.port}`);
    const goaway = once(client, 'goaway');
    await ask(client);
    await goaway;
    await once(client, 'close');
    await own.close();
  });
});

describe('HTTP/2 by ALPN', () => {
  let authority: TestAuthority;
  let ca: Buffer;
  let tls: ServerTlsConfig;
  before(async () => {
    authority = await TestAuthority.create();
    ca = readFileSync(authority.ca);
    tls = { ...(await authority.issue('shop', { dns: ['shop.test'] })), certificates: [], minVersion: 'TLSv1.2' };
  });
  after(() => authority.remove());

  test('takes h2 or http/1.1, as the client likes, on one port', async () => {
    const origin = await httpOrigin((request, response) => response.end(`${request.url}`));
    const engine = await startEngine([origin.address], { listen, tls });
    const session = connect(`https://127.0.0.1:${engine.port}`, { servername: 'shop.test', ca });
    const { status, body } = await ask(session, { ':path': '/new', ':authority': 'shop.test' });
    assert.deepEqual([session.alpnProtocol, status, body], ['h2', 200, '/new']);
    const socket = connectTls({ port: engine.port, host: '127.0.0.1', servername: 'shop.test', ca, ALPNProtocols: ['http/1.1'] });
    socket.write('GET /old HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /^HTTP\/1\.1 200 OK[^]*\/old$/);
    assert.deepEqual(engine.finished.map(({ httpVersion, request }) => [httpVersion, request!.scheme]), [['2', 'https'], ['1.1', 'https']]);
    session.destroy();
    await engine.close();
    await origin.close();
  });

  test('a client that resets while it takes nothing cancels everything that it asked for', async () => {
    let written = 0;
    const origin = await httpOrigin((request, response) => {
      const more = (): void => {
        do written += 65_536;
        while (!response.destroyed && response.write(Buffer.alloc(65_536)));
      };
      if (request.url === '/1') response.end('whole');
      else {
        response.on('drain', more);
        more();
      }
    });
    const engine = await startEngine([origin.address], { listen, tls, limits: { writeTimeout: 10_000 } });
    const raw = createConnection(engine.port, '127.0.0.1');
    const socket = connectTls({ socket: raw, servername: 'shop.test', ca, ALPNProtocols: ['h2'] });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    // The second stream has no window: its answer is handed over to the end, and stays.
    const opened = (index: number): Buffer => frame(frameType.windowUpdate, 0, index < 0 ? 0 : 2 * index + 1, Buffer.from([0x7f, 0, 0, 0]));
    const requests = Array.from({ length: streams }, (_, index) => [headers(2 * index + 1, requestFields({ ':path': `/${index}` })), ...(index === 1 ? [] : [opened(index)])]);
    socket.write(Buffer.concat([preface, frame(frameType.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])), opened(-1), ...requests.flat()]));
    const [endpoint] = engine.upstream.endpoints;
    await until(() => endpoint!.inFlight === streams - 1);
    await untilStill(() => written);
    raw.resetAndDestroy();
    const finished = await engine.untilFinished(streams);
    assert.deepEqual(new Set(finished.map(({ errorCode }) => errorCode)), new Set(['client_closed']));
    assert.equal(endpoint!.inFlight, 0);
    await engine.listener.drain();
    await engine.close();
    await origin.close();
  });
});

/** Streams of one connection, so many that Node's library stops to read it when their client does. */
const streams = 100;

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
