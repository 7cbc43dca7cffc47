import assert from 'node:assert/strict';
import { once } from 'node:events';
import { constants, createServer, createSecureServer, type ClientHttp2Session, type Http2Server } from 'node:http2';
import { createServer as createHttpsServer } from 'node:https';
import { readFileSync } from 'node:fs';
import type { AddressInfo, Server, Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { TestAuthority, type KeyPairFiles } from '../../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { answer, frameOrigin, goaway, ok, reset, settings } from '../../../tests/support/frame-origin.js';
import { fieldBlock, flag, frame, FramePeer, frameType } from '../../../tests/support/http2-frames.js';
import { readBody, tcpOrigin, type Origin } from '../../../tests/support/origin.js';
import { exchange, request } from '../../../tests/support/policy.js';
import { exchangeRaw, RawClient } from '../../../tests/support/raw-client.js';
import { until } from '../../../tests/support/until.js';
import { bulkheadSchema } from '../../config/health.js';
import { upstreamSchema, type UpstreamConfig } from '../../config/sections.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import { Bulkhead } from '../bulkhead.js';
import { Http2Attempt } from './http2-attempt.js';
import type { Http2UpstreamSession } from './http2-session.js';

const upstream = (changes: object = {}): Partial<UpstreamConfig> => {
  const config: Partial<UpstreamConfig> = upstreamSchema.parse({ endpoints: [], protocol: 'h2', ...changes });
  delete config.endpoints;
  return config;
};
const get = (path = '/', fields = ''): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\n${fields}Connection: close\r\n\r\n`;
const post = (body: string): string => `POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`;
const statusOf = (text: string): number => Number(/HTTP\/1\.1 ([2-5]\d\d)/.exec(text)?.[1]);

describe('an upstream of HTTP/2', () => {
  let server: Http2Server;
  let engine: TestEngine;
  before(async () => {
    server = createServer((request, response) => {
      void (async () => {
        if (request.url === '/103') response.writeEarlyHints({ link: '</a.css>; rel=preload' });
        const body = await readBody(request as never).catch(() => undefined);
        if (body === undefined) return;
        response.setHeader('set-cookie', ['a=1', 'b=2']);
        if (request.url === '/204') response.writeHead(204).end();
        else if (request.url === '/trailers') {
          response.write('data');
          response.addTrailers({ 'x-sum': '42', authorization: 'x' });
          response.end();
        } else response.end(JSON.stringify({ raw: request.rawHeaders, fields: request.headers, body, trailers: request.trailers }));
      })();
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: upstream() });
  });
  after(async () => {
    await engine.close();
    server.close();
  });

  test('gets requests of HTTP/1.1 without what concerns a connection, and its answers go back', async () => {
    const text = await exchangeRaw(engine.port, get('/a/../b?c', 'Keep-Alive: timeout=5\r\nX-One: 1\r\nX-One: 2\r\nTE: gzip\r\n'));
    assert.match(text, /^HTTP\/1\.1 200 OK\r\n[^]*set-cookie: a=1\r\nset-cookie: b=2\r\n/i);
    const { fields } = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as { fields: Record<string, string> };
    assert.deepEqual([fields[':path'], fields[':authority'], fields['x-one'], fields['keep-alive'], fields['te'], fields['host']], ['/b?c', 'shop', '1, 2', undefined, undefined, undefined]);
  });

  test('gets fields that are named like what every object has', async () => {
    const text = await exchangeRaw(engine.port, get('/', 'constructor: a\r\n__proto__: b\r\ntoString: c\r\n'));
    const { raw } = JSON.parse(text.slice(text.indexOf('{'), text.lastIndexOf('}') + 1)) as { raw: string[] };
    assert.deepEqual(['constructor', '__proto__', 'tostring'].map((name) => raw[raw.indexOf(name) + 1]), ['a', 'b', 'c']);
    assert.equal(raw.filter((name) => name === 'constructor').length, 1);
  });

  test('gets bodies and trailers, and gives them', async () => {
    assert.match(await exchangeRaw(engine.port, post('hello')), /"content-length":"5"[^]*"body":"hello"/);
    const chunked = await exchangeRaw(engine.port, 'POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n');
    assert.match(chunked, /"body":"hello","trailers":\{"x-sum":"7"\}/);
    const trailers = await exchangeRaw(engine.port, get('/trailers'));
    assert.match(trailers, /4\r\ndata\r\n0\r\nx-sum: 42\r\n\r\n$/);
  });

  test('gives answers without a body, and interim ones', async () => {
    assert.match(await exchangeRaw(engine.port, get('/204')), /^HTTP\/1\.1 204 /);
    assert.match(await exchangeRaw(engine.port, get('/').replace('GET', 'HEAD')), /^HTTP\/1\.1 200 OK\r\n(?:[^\r]+\r\n)*\r\n$/);
    assert.match(await exchangeRaw(engine.port, get('/103')), /^HTTP\/1\.1 103 [^]*HTTP\/1\.1 200 /);
  });

  test('gets its own authority where a request has none, or an empty one', async () => {
    for (const head of ['GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n', 'GET / HTTP/1.0\r\n\r\n']) {
      assert.match(await exchangeRaw(engine.port, head), new RegExp(`^HTTP/1\\.1 200 [^]*":authority":"127\\.0\\.0\\.1:${(server.address() as AddressInfo).port}"`));
    }
  });

  test('a head that is longer than what it has said to take is not sent to it, and not its failure', async () => {
    const small = createServer({ settings: { maxHeaderListSize: 8_192 } }, (_request, response) => response.end('hello'));
    await once(small.listen(0, '127.0.0.1'), 'listening');
    const careful = await startEngine([{ host: '127.0.0.1', port: (small.address() as AddressInfo).port }], { upstream: upstream() });
    // It says so when the connection is there.
    assert.equal(statusOf(await exchangeRaw(careful.port, get())), 200);
    assert.match(await exchangeRaw(careful.port, get('/', `X-Long: ${'a'.repeat(8_192)}\r\n`)), /^HTTP\/1\.1 431 [^]*head_too_large$/);
    assert.equal(statusOf(await exchangeRaw(careful.port, get('/', `X-Long: ${'a'.repeat(7_000)}\r\n`))), 200);
    await careful.close();
    small.close();
  });

  test('gets heads that are longer than what Node sends by default', async () => {
    const long = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: upstream(), limits: { maxHeadBytes: 262_144 } });
    const text = await exchangeRaw(long.port, get('/', Array.from({ length: 90 }, (_, index) => `X-${index}: ${'a'.repeat(1_000)}\r\n`).join('')));
    assert.match(text, /^HTTP\/1\.1 200 [^]*"x-89":"a/);
    await long.close();
  });

  for (const [name, client, code] of [
    ['a session that has gone away', { closed: true, destroyed: false }, 'upstream_refused'],
    ['a session that is there', { closed: false, destroyed: false }, 'internal'],
  ] as const) {
    test(`a request that cannot be sent on ${name} is ${code}`, () => {
      const one = exchange();
      let released = 0;
      let reason: unknown;
      const session = { scheme: 'http', name: 'shop', authority: 'shop', maxFieldBytes: Infinity, release: () => released++ } as unknown as Http2UpstreamSession;
      const refusing = { ...client, request: () => assert.fail() } as unknown as ClientHttp2Session;
      new Http2Attempt(session, request(one), one, () => assert.fail(), (error) => (reason = error)).start(refusing);
      assert.deepEqual([(reason as ProxyError).code, released], [code, 1]);
    });
  }

  test('carries many requests on one connection', async () => {
    const texts = await Promise.all(Array.from({ length: 50 }, () => exchangeRaw(engine.port, get())));
    assert.ok(texts.every((text) => statusOf(text) === 200));
    const [endpoint] = engine.upstream.endpoints;
    assert.deepEqual([endpoint!.pool.size, endpoint!.inFlight], [1, 0]);
  });
});

describe('an endpoint that does not do what it should', () => {
  async function play(origin: Origin, ask: (engine: TestEngine) => Promise<void>, changes: object = {}): Promise<void> {
    const engine = await startEngine([origin.address], { upstream: upstream(changes) });
    try {
      await ask(engine);
    } finally {
      await engine.close();
      await origin.close();
    }
  }

  test('a request that was refused unprocessed is sent once more, whatever its method', async () => {
    const origin = await frameOrigin((peer, stream, _connection, request) => peer.send(request === 1 ? reset(stream, constants.NGHTTP2_REFUSED_STREAM) : answer(stream)));
    await play(origin, async (engine) => assert.equal(statusOf(await exchangeRaw(engine.port, post('once'))), 200));
  });

  const chunked = (...chunks: readonly string[]): string => `PUT / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n${[...chunks, ''].map((chunk) => `${chunk.length.toString(16)}\r\n${chunk}\r\n`).join('')}`;
  for (const [how, refuse] of [['REFUSED_STREAM', (stream: number) => reset(stream, constants.NGHTTP2_REFUSED_STREAM)], ['GOAWAY', () => goaway(0)]] as const) {
    test(`with its body, where that is streamed and not long: ${how}`, async () => {
      const bodies: string[] = [];
      const whole = (peer: FramePeer, stream: number): boolean => peer.frames.some((each) => each.type === frameType.data && each.stream === stream && (each.flags & flag.endStream) !== 0);
      const origin = await frameOrigin((peer, stream, _connection, request) => {
        if (request === 1) void peer.until(({ type, stream: of }) => type === frameType.data && of === stream).then(() => peer.send(refuse(stream)));
        else {
          void until(() => whole(peer, stream)).then(() => {
            bodies.push(Buffer.concat(peer.frames.filter((each) => each.type === frameType.data && each.stream === stream).map(({ payload }) => payload)).toString());
            peer.send(answer(stream));
          });
        }
      });
      await play(origin, async (engine) => {
        const client = await RawClient.connect(engine.port);
        const text = chunked('one, ', 'two');
        const middle = text.indexOf('3\r\ntwo');
        client.send(text.slice(0, middle));
        // The rest comes while the first is refused, or behind it.
        await until(() => origin.peers[0]?.frames.some(({ type }) => type === frameType.data) === true);
        client.send(text.slice(middle));
        await client.untilClosed();
        assert.deepEqual([statusOf(client.text), bodies], [200, ['one, two']]);
      });
    });
  }

  test('not with a body that is streamed and longer than what an endpoint takes at first', async () => {
    const origin = await frameOrigin((peer, stream) => {
      peer.send(settings([4, 1_000_000]), frame(frameType.windowUpdate, 0, 0, Buffer.from([0, 15, 0, 0])));
      const taken = (): number => peer.frames.filter(({ type }) => type === frameType.data).reduce((sum, { payload }) => sum + payload.length, 0);
      void until(() => taken() >= 70_000).then(() => peer.send(reset(stream, constants.NGHTTP2_REFUSED_STREAM)));
    });
    await play(origin, async (engine) => {
      assert.match(await exchangeRaw(engine.port, chunked('x'.repeat(40_000), 'x'.repeat(40_000))), /upstream_refused/);
      assert.equal(origin.peers[0]!.frames.filter(({ type }) => type === frameType.headers).length, 1);
    });
  });

  test('a request that is sent once more says again that it takes trailers', () => {
    const seen: unknown[] = [];
    const client = {
      closed: true,
      request: (fields: Record<string, unknown>) => {
        seen.push(fields['te']);
        throw new Error('gone');
      },
    } as unknown as ClientHttp2Session;
    const session = { scheme: 'http', authority: 'shop', maxFieldBytes: Infinity, release: () => {} } as unknown as Http2UpstreamSession;
    const one = exchange();
    const twice = request(one, { fields: { te: 'trailers', connection: 'TE' } });
    for (let count = 0; count < 2; count++) new Http2Attempt(session, twice, one, () => assert.fail(), () => {}).start(client);
    assert.deepEqual(seen, ['trailers', 'trailers']);
  });

  const silently: readonly (readonly [name: string, end: (socket: Socket) => void])[] = [
    ['ends', (socket) => socket.end()],
    ['is reset', (socket) => socket.resetAndDestroy()],
  ];
  for (const [how, end] of silently) {
    for (const [what, text, status, connections] of [['one that may be repeated is sent once more', get(), 200, 2], ['one that may not be is not', post('x'), 502, 1]] as const) {
      test(`a connection that has answered ${how} before anything of the next answer: ${what}`, async () => {
        const origin = await frameOrigin((peer, stream) => (stream === 1 ? peer.send(answer(stream)) : end(peer.socket)));
        await play(origin, async (engine) => {
          assert.equal(statusOf(await exchangeRaw(engine.port, get())), 200);
          assert.equal(statusOf(await exchangeRaw(engine.port, text)), status);
          assert.equal(origin.peers.length, connections);
        });
      });
    }

    test(`a connection that has answered nothing and ${how}: the request is not sent again`, async () => {
      const origin = await frameOrigin((peer) => end(peer.socket));
      await play(origin, async (engine) => assert.match(await exchangeRaw(engine.port, get()), /upstream_reset/));
      assert.equal(origin.peers.length, 1);
    });
  }

  test('one that is refused again is an error that says that nothing was processed', async () => {
    const origin = await frameOrigin((peer, stream) => peer.send(reset(stream, constants.NGHTTP2_REFUSED_STREAM)));
    await play(origin, async (engine) => assert.match(await exchangeRaw(engine.port, post('never')), /^HTTP\/1\.1 503 [^]*upstream_refused/));
  });

  test('GOAWAY: streams it leaves out go to another connection, those before it finish', async () => {
    const origin = await frameOrigin((peer, stream, connection) => {
      if (connection === 2) peer.send(answer(stream, 'second'));
      else if (stream === 3) {
        peer.send(goaway(1));
        setTimeout(() => peer.send(answer(1, 'first')), 50);
      }
    });
    await play(origin, async (engine) => {
      const first = exchangeRaw(engine.port, get('/1'));
      while (origin.peers[0]?.frames.some(({ type }) => type === frameType.headers) !== true) await new Promise((resolve) => setImmediate(resolve));
      const second = exchangeRaw(engine.port, post('2'));
      assert.match(await second, /second/);
      assert.match(await first, /first/);
      assert.equal(origin.peers.length, 2);
    });
  });

  test('GOAWAY with an error spares what it leaves out, and fails what it may have processed', async () => {
    const origin = await frameOrigin((peer, stream, connection) => {
      if (connection === 2) peer.send(answer(stream, 'second'));
      else if (stream === 3) peer.send(goaway(1, constants.NGHTTP2_INTERNAL_ERROR));
    });
    await play(origin, async (engine) => {
      const first = exchangeRaw(engine.port, post('1'));
      while (origin.peers[0]?.frames.some(({ type }) => type === frameType.headers) !== true) await new Promise((resolve) => setImmediate(resolve));
      assert.match(await exchangeRaw(engine.port, post('2')), /second/);
      assert.match(await first, /upstream_reset/);
    });
  });

  test('no more streams are opened than it allows, and another connection is', async () => {
    let most = 0;
    const origin = await frameOrigin((peer, stream) => {
      const open = peer.frames.filter(({ type }) => type === frameType.headers).length - answered(peer);
      most = Math.max(most, open);
      setTimeout(() => {
        count(peer);
        peer.send(answer(stream));
      }, 30);
    }, [settings([3, 2])]);
    const answers = new Map<FramePeer, number>();
    const answered = (peer: FramePeer): number => answers.get(peer) ?? 0;
    const count = (peer: FramePeer): Map<FramePeer, number> => answers.set(peer, answered(peer) + 1);
    await play(
      origin,
      async (engine) => {
        const statuses = await Promise.all(Array.from({ length: 7 }, () => exchangeRaw(engine.port, get()).then(statusOf)));
        assert.deepEqual(statuses, Array(7).fill(200));
        assert.ok(most <= 2, `${most} at a time`);
        // Counted by what each answered: somebody who knocks at a port that was another's until now is no connection of ours.
        assert.deepEqual([answers.size, [...answers.values()].reduce((sum, each) => sum + each)], [2, 7]);
      },
      { maxConnections: 2 },
    );
  });

  test('a queue that is full is an error', async () => {
    const origin = await frameOrigin(() => {}, [settings([3, 1])]);
    await play(
      origin,
      async (engine) => {
        const clients = await Promise.all([1, 2, 3].map(() => RawClient.connect(engine.port)));
        clients[0]!.send(get());
        while (origin.peers[0]?.frames.some(({ type }) => type === frameType.headers) !== true) await new Promise((resolve) => setImmediate(resolve));
        for (const client of clients.slice(1)) client.send(get());
        await Promise.race(clients.map((client) => client.untilClosed()));
        assert.deepEqual(engine.finished.map(({ errorCode }) => errorCode), ['upstream_queue_full']);
        for (const client of clients) client.close();
      },
      { maxConnections: 1, maxPending: 1 },
    );
  });

  test('a first request needs no place in the queue', async () => {
    const origin = await frameOrigin((peer, stream) => peer.send(answer(stream)));
    await play(origin, async (engine) => assert.equal(statusOf(await exchangeRaw(engine.port, get())), 200), { maxPending: 0 });
  });

  const half = frame(frameType.headers, flag.endHeaders, 1, ok);
  const ends: readonly (readonly [name: string, frames: readonly Buffer[], code: string])[] = [
    ['a reset before the answer', [reset(1, constants.NGHTTP2_INTERNAL_ERROR)], 'upstream_reset'],
    ['a reset within it', [half, frame(frameType.data, 0, 1, 'half'), reset(1, constants.NGHTTP2_INTERNAL_ERROR)], 'upstream_truncated'],
    ['a reset within it that says that all is well', [half, frame(frameType.data, 0, 1, 'half'), reset(1, constants.NGHTTP2_NO_ERROR)], 'upstream_truncated'],
    ['a cancellation within it', [half, frame(frameType.data, 0, 1, 'half'), reset(1, constants.NGHTTP2_CANCEL)], 'upstream_truncated'],
    ['an answer shorter than its length', [frame(frameType.headers, flag.endHeaders, 1, fieldBlock([[':status', '200'], ['content-length', '9']])), frame(frameType.data, flag.endStream, 1, 'half')], 'upstream_truncated'],
    ...['099', '600', '999'].map((status): [string, Buffer[], string] => [`a status of ${status}`, [frame(frameType.headers, flag.endHeaders | flag.endStream, 1, fieldBlock([[':status', status]]))], 'upstream_protocol']),
    ['a status of 099 behind an interim answer', [frame(frameType.headers, flag.endHeaders, 1, fieldBlock([[':status', '103']])), frame(frameType.headers, flag.endHeaders, 1, fieldBlock([[':status', '099']])), frame(frameType.data, flag.endStream, 1, 'x')], 'upstream_protocol'],
    ['an answer without a status', [frame(frameType.headers, flag.endHeaders, 1, fieldBlock([['x-a', '1']]))], 'upstream_protocol'],
    ['interim answers without end', [...Array<Buffer>(1_000).fill(frame(frameType.headers, flag.endHeaders, 1, fieldBlock([[':status', '103'], ['link', 'x'.repeat(100)]]))), answer(1)], 'upstream_protocol'],
    ['a field that concerns a connection', [frame(frameType.headers, flag.endHeaders, 1, fieldBlock([[':status', '200'], ['connection', 'close']]))], 'upstream_protocol'],
  ];
  for (const [name, frames, code] of ends) {
    test(`${name} is ${code}`, async () => {
      const origin = await frameOrigin((peer) => peer.send(...frames));
      await play(origin, async (engine) => {
        const text = await exchangeRaw(engine.port, post('x'));
        assert.doesNotMatch(text, /\r\n0\r\n\r\n$/);
        assert.equal((await engine.untilFinished(1))[0]!.errorCode, code, String(engine.finished[0]!.status));
      });
    });
  }

  test('a connection that broke without a word is found out when a request on it is given up, and another one takes over', async () => {
    // A frame that claims 5 MiB: Node’s library gives the session up, and tells nobody.
    const origin = await frameOrigin((peer, stream, connection) => peer.send(connection === 1 ? Buffer.from('HTTP/1.1 200 OK\r\n') : answer(stream)));
    await play(origin, async (engine) => {
      const client = await RawClient.connect(engine.port);
      client.send(get());
      await origin.peers[0]?.until(({ type }) => type === frameType.headers);
      while ((origin.peers[0]?.frames.length ?? 0) < 3) await new Promise((resolve) => setImmediate(resolve));
      client.close();
      await origin.peers[0]!.untilClosed();
      assert.equal(statusOf(await exchangeRaw(engine.port, get())), 200);
    }, { http2: { pingTimeout: 50 } });
  });

  const breaks: readonly (readonly [name: string, frames: readonly Buffer[]])[] = [
    ['a body before its head', [frame(frameType.data, flag.endStream, 1, 'x')]],
    ['a field block that nobody can read', [frame(frameType.headers, flag.endHeaders, 1, Buffer.alloc(20, 255))]],
    ['a frame that is longer than allowed', [frame(frameType.data, flag.endStream, 1, Buffer.alloc(20_000))]],
    ['such a frame behind a head', [half, frame(frameType.data, flag.endStream, 1, Buffer.alloc(20_000))]],
    ['a setting that may not be', [settings([5, 1])]],
    ['such a frame on a connection that goes away', [goaway(3), frame(frameType.data, flag.endStream, 1, Buffer.alloc(20_000))]],
    ['HTTP/1.1 on an open connection', [Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'.repeat(10))]],
  ];
  test('what breaks the protocol of a connection, told to somebody or not, is found out within seconds and blamed on the endpoint', async () => {
    // The second is longer than what the endpoint takes at once.
    const bodies = ['x', 'x'.repeat(100_000)];
    await Promise.all(breaks.flatMap((each) => bodies.map((body) => [...each, body] as const)).map(async ([name, frames, body]) => {
      const origin = await frameOrigin((peer) => peer.send(...frames));
      await play(origin, async (engine) => {
        const all = [exchangeRaw(engine.port, get()), exchangeRaw(engine.port, post(body))];
        const started = performance.now();
        await Promise.all(all);
        assert.deepEqual(engine.finished.map(({ errorCode }) => errorCode), ['upstream_protocol', 'upstream_protocol'], name);
        assert.ok(performance.now() - started < 4_000, name);
      });
    }));
  });

  test('a field with a space at an edge is passed on where Node can, and is left out before', async () => {
    const spaced = frame(frameType.headers, flag.endHeaders | flag.endStream, 1, fieldBlock([[':status', '200'], ['cache-control', 'no-store '], ['x-plain', '1']]));
    const origin = await frameOrigin((peer) => peer.send(spaced));
    const [major, minor] = process.versions.node.split('.').map(Number);
    const isPassedOn = major! > 24 || (major === 24 && minor! >= 2);
    await play(origin, async (engine) => {
      const text = await exchangeRaw(engine.port, get());
      assert.match(text, /^HTTP\/1\.1 200 [^]*x-plain: 1\r\n/);
      assert.equal(/cache-control: no-store/.test(text), isPassedOn);
    });
  });

  test('an endpoint that takes its time is asked once whether it is there, and not blamed for an answer to that which is late', async () => {
    const origin = await frameOrigin((peer, stream) => setTimeout(() => peer.send(answer(stream)), 2_500));
    await play(origin, async (engine) => assert.equal(statusOf(await exchangeRaw(engine.port, get())), 200), { http2: { pingTimeout: 50 } });
    assert.equal(origin.peers[0]!.frames.filter(({ type }) => type === frameType.ping).length, 1);
  });

  test('a connection that goes away and then breaks without a word is not kept for requests that nobody waits for', async () => {
    const origin = await frameOrigin((peer) => peer.send(goaway(1), frame(frameType.data, flag.endStream, 1, Buffer.alloc(20_000))));
    await play(origin, async (engine) => {
      const client = await RawClient.connect(engine.port);
      client.send(get());
      await until(() => (origin.peers[0]?.frames ?? []).some(({ type }) => type === frameType.headers));
      client.close();
      await origin.peers[0]!.untilClosed();
      await until(() => engine.upstream.endpoints[0]!.pool.connections === 0);
    });
  });

  test('an endpoint that answers no pings, but sends, is taken for there', async () => {
    const origin = await frameOrigin((peer, stream) => {
      peer.send(frame(frameType.headers, flag.endHeaders, stream, ok));
      let left = 40;
      const timer = setInterval(() => {
        peer.send(frame(frameType.data, left === 1 ? flag.endStream : 0, stream, 'x'));
        if (--left === 0) clearInterval(timer);
      }, 10);
    });
    await play(origin, async (engine) => {
      assert.equal(statusOf(await exchangeRaw(engine.port, get())), 200);
      assert.ok(origin.peers[0]!.frames.filter(({ type }) => type === frameType.ping).length > 1);
      assert.deepEqual([engine.finished[0]!.errorCode, origin.peers.length], [undefined, 1]);
    }, { http2: { pingInterval: 60, pingTimeout: 60 } });
  });

  test('an endpoint that speaks HTTP/1.1 is found out at once', async () => {
    const origin = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')));
    await play(origin, async (engine) => assert.match(await exchangeRaw(engine.port, get()), /^HTTP\/1\.1 502 [^]*upstream_protocol/));
  });

  test('one that says nothing is given up after connectTimeout', async () => {
    const origin = await tcpOrigin(() => {});
    await play(origin, async (engine) => assert.match(await exchangeRaw(engine.port, get()), /upstream_connect_failed/), { connectTimeout: 100 });
  });

  test('one that does not answer pings is given up, and the request with it', async () => {
    const origin = await frameOrigin(() => {});
    await play(origin, async (engine) => assert.match(await exchangeRaw(engine.port, post('x')), /upstream_reset/), { http2: { pingInterval: 50, pingTimeout: 50 } });
  });

  test('an answer that pauses for too long is broken off', async () => {
    const origin = await frameOrigin((peer) => peer.send(half));
    await play(origin, async (engine) => {
      await exchangeRaw(engine.port, get());
      assert.equal(engine.finished[0]!.errorCode, 'upstream_timeout');
    }, { bodyIdleTimeout: 60 });
  });

  test('a session that is idle is closed, politely', async () => {
    const origin = await frameOrigin((peer, stream) => peer.send(answer(stream)));
    await play(origin, async (engine) => {
      await exchangeRaw(engine.port, get());
      await origin.peers[0]!.until(({ type }) => type === frameType.goaway);
      await origin.peers[0]!.untilClosed();
      while (engine.upstream.endpoints[0]!.pool.size > 0) await new Promise((resolve) => setImmediate(resolve));
    }, { idleTimeout: 60 });
  });

  test('a request whose client leaves is reset within 50 ms, and never looks whole', async () => {
    const origin = await frameOrigin(() => {});
    await play(origin, async (engine) => {
      const client = await RawClient.connect(engine.port);
      client.send('POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf');
      while (origin.peers[0]?.frames.some(({ type }) => type === frameType.data) !== true) await new Promise((resolve) => setImmediate(resolve));
      const at = performance.now();
      client.close();
      const cancelled = await origin.peers[0].until(({ type }) => type === frameType.reset);
      assert.ok(performance.now() - at < 50);
      assert.equal(cancelled.payload.readUInt32BE(), constants.NGHTTP2_CANCEL);
      assert.equal(origin.peers[0].frames.some(({ type, flags }) => type === frameType.data && (flags & flag.endStream) !== 0), false);
    });
  });
});

describe('which protocol is spoken', () => {
  let authority: TestAuthority;
  let files: KeyPairFiles;
  before(async () => {
    authority = await TestAuthority.create();
    files = await authority.issue('shop', { dns: ['shop.test'], ip: ['127.0.0.1'] });
  });
  after(() => authority.remove());

  async function secure(offersH2: boolean): Promise<Origin> {
    const pair = { cert: readFileSync(files.cert), key: readFileSync(files.key) };
    const server = offersH2
      ? createSecureServer({ ...pair, allowHTTP1: true }, (request, response) => response.end(`HTTP/${request.httpVersion}`))
      : createHttpsServer(pair, (request, response) => response.end(`HTTP/${request.httpVersion}`));
    const sockets = new Set<Socket>();
    server.on('secureConnection', (socket: Socket) => sockets.add(socket));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as AddressInfo;
    return {
      port, address: { host: '127.0.0.1', port },
      close: () => new Promise((done) => {
        server.close(() => done());
        for (const socket of sockets) socket.destroy();
      }),
    };
  }

  /** An endpoint made of frames, behind TLS. */
  async function frameServer(pair: { readonly cert: Buffer; readonly key: Buffer }, play: (peer: FramePeer, stream: number) => void, hello: readonly Buffer[] = [settings()]): Promise<{ readonly server: Server; readonly peers: FramePeer[] }> {
    const peers: FramePeer[] = [];
    const server = createTlsServer({ ...pair, ALPNProtocols: ['h2'], allowHalfOpen: true }, (socket) => {
      const peer = new FramePeer(socket, true).send(...hello);
      peers.push(peer);
      let seen = 0;
      socket.on('data', () => {
        for (; seen < peer.frames.length; seen++) if (peer.frames[seen]!.type === frameType.headers) play(peer, peer.frames[seen]!.stream);
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return { server, peers };
  }

  const cases: readonly (readonly [protocol: string, offersH2: boolean, expected: RegExp])[] = [
    ['auto', true, /HTTP\/2\.0$/],
    ['auto', false, /HTTP\/1\.1$/],
    ['h2', true, /HTTP\/2\.0$/],
    ['h2', false, /upstream_tls_failed$/],
    ['h1', true, /HTTP\/1\.1$/],
  ];
  for (const [protocol, offersH2, expected] of cases) {
    test(`${protocol} with TLS, and an endpoint that ${offersH2 ? 'offers' : 'does not offer'} HTTP/2`, async () => {
      const origin = await secure(offersH2);
      const engine = await startEngine([origin.address], { upstream: upstream({ protocol, tls: { ca: authority.ca, serverName: 'shop.test' } }) });
      const texts = await Promise.all([1, 2, 3].map(() => exchangeRaw(engine.port, get())));
      for (const text of [...texts, await exchangeRaw(engine.port, get())]) assert.match(text.replace(/\r\n0\r\n\r\n$/, '').trimEnd(), expected);
      await engine.close();
      await origin.close();
    });
  }

  test('auto: what comes while a connection of HTTP/2 is opened waits for it, and makes no other', async () => {
    const { server, peers } = await frameServer({ cert: readFileSync(files.cert), key: readFileSync(files.key) }, (peer, stream) => peer.send(answer(stream)), []);
    const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: upstream({ protocol: 'auto', tls: { ca: authority.ca, serverName: 'shop.test' } }) });
    const first = exchangeRaw(engine.port, get());
    while ((peers[0]?.frames.length ?? 0) === 0) await new Promise((resolve) => setImmediate(resolve));
    const second = exchangeRaw(engine.port, get());
    while (engine.upstream.endpoints[0]!.inFlight < 2) await new Promise((resolve) => setImmediate(resolve));
    peers[0]!.send(settings());
    assert.deepEqual([statusOf(await first), statusOf(await second), peers.length], [200, 200, 1]);
    await engine.close();
    server.close();
  });

  test('auto: while it is found out what is spoken, no more wait than may', async () => {
    const silent = await tcpOrigin(() => {});
    const engine = await startEngine([silent.address], { upstream: upstream({ protocol: 'auto', tls: { ca: authority.ca, serverName: 'shop.test' }, maxConnections: 2, maxPending: 3 }) });
    const clients = await Promise.all(Array.from({ length: 10 }, () => RawClient.connect(engine.port)));
    for (const client of clients) client.send(get());
    const refused = await engine.untilFinished(5);
    assert.deepEqual(refused.map(({ errorCode }) => errorCode), Array.from({ length: 5 }, () => 'upstream_queue_full'));
    const { pool } = engine.upstream.endpoints[0]!;
    assert.deepEqual([pool.connections, pool.queued], [2, 3]);
    for (const client of clients) client.close();
    await engine.untilFinished(10);
    await until(() => pool.queued === 0);
    await engine.close();
    await silent.close();
  });

  test('auto: an endpoint that is exchanged is asked anew, though a connection of the one before is never closed', async () => {
    const pair = { cert: readFileSync(files.cert), key: readFileSync(files.key) };
    const before = await frameServer(pair, (peer, stream) => peer.send(answer(stream), goaway(stream)));
    const { port } = before.server.address() as AddressInfo;
    const engine = await startEngine([{ host: '127.0.0.1', port }], { upstream: upstream({ protocol: 'auto', tls: { ca: authority.ca, serverName: 'shop.test' } }) });
    assert.equal(statusOf(await exchangeRaw(engine.port, get())), 200);
    before.server.close();
    const after = createHttpsServer(pair, (request, response) => response.end(`HTTP/${request.httpVersion}`));
    await once(after.listen(port, '127.0.0.1'), 'listening');
    assert.match(await exchangeRaw(engine.port, get()), /HTTP\/1\.1$/);
    for (const peer of before.peers) peer.close();
    await engine.close();
    after.close();
  });

  test('auto: the limit of an upstream holds while it is asked what is spoken, and HTTP/1.1 is', async () => {
    const sockets = new Set<Socket>();
    const server = createHttpsServer({ cert: readFileSync(files.cert), key: readFileSync(files.key) }, (_request, response) => setImmediate(() => response.end('ok')));
    server.on('connection', (socket: Socket) => sockets.add(socket));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: upstream({ protocol: 'auto', tls: { ca: authority.ca, serverName: 'shop.test' } }) });
    const bulkhead = new Bulkhead('test', bulkheadSchema.parse({ maxConnections: 2 }));
    const [endpoint] = engine.upstream.endpoints;
    endpoint!.service = bulkhead.guard(endpoint!.pool).layer(endpoint!.connect);
    const statuses = await Promise.all(Array.from({ length: 8 }, () => exchangeRaw(engine.port, get()).then(statusOf)));
    assert.deepEqual([statuses, sockets.size], [Array(8).fill(200), 2]);
    await engine.close();
    server.close();
    for (const socket of sockets) socket.destroy();
  });

  test('auto without TLS: gRPC goes over HTTP/2, everything else over HTTP/1.1', async () => {
    const spoken: string[] = [];
    const origin = await tcpOrigin((socket) => {
      socket.once('data', (data) => {
        const isHttp2 = data.toString('latin1').startsWith('PRI');
        spoken.push(isHttp2 ? 'h2' : 'h1');
        if (!isHttp2) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
        else {
          const peer = new FramePeer(socket, true).send(settings());
          socket.unshift(data);
          void peer.until(({ type }) => type === frameType.headers).then(({ stream }) => peer.send(answer(stream)));
        }
      });
    });
    const engine = await startEngine([origin.address], { upstream: upstream({ protocol: 'auto' }) });
    assert.equal(statusOf(await exchangeRaw(engine.port, get())), 200);
    assert.equal(statusOf(await exchangeRaw(engine.port, get('/', 'Content-Type: application/grpc+proto\r\n'))), 200);
    assert.deepEqual(spoken, ['h1', 'h2']);
    await engine.close();
    await origin.close();
  });
});
