import assert from 'node:assert/strict';
import { once } from 'node:events';
import { linkSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2';
import { connect as connectTcp, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectTls } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { httpOrigin, readBody, tcpOrigin, type Origin } from '../../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../../tests/support/raw-client.js';
import { until, untilStill } from '../../../tests/support/until.js';
import { FastifyListener } from './fastify-listener.js';

/** What never ends leaves a test waiting. */
const options = { timeout: 20_000 };
const get = 'GET / HTTP/1.1\r\nHost: shop\r\n\r\n';

/** Answers nothing, and counts. */
async function silentOrigin(): Promise<{ readonly silent: Origin; readonly seen: { open: number; requests: number } }> {
  const seen = { open: 0, requests: 0 };
  const silent = await tcpOrigin((socket) => {
    seen.open++;
    socket.on('data', () => seen.requests++);
    socket.on('close', () => seen.open--);
  });
  return { silent, seen };
}

/** A proxy in front of an origin whose answers are the test's to give, and a client of it. */
async function held(): Promise<{ readonly silent: Origin; readonly engine: TestEngine; readonly client: RawClient; readonly asked: Promise<Socket> }> {
  let resolve!: (socket: Socket) => void;
  const asked = new Promise<Socket>((give) => (resolve = give));
  const silent = await tcpOrigin((socket) => socket.once('data', () => resolve(socket)));
  const engine = await startEngine([silent.address], { kind: FastifyListener });
  return { silent, engine, client: await RawClient.connect(engine.port), asked };
}

describe('HTTP/2', () => {
  let authority: TestAuthority;
  let files: KeyPairFiles;
  let origin: Origin;
  let engine: TestEngine;
  let session: ClientHttp2Session;
  before(async () => {
    authority = await TestAuthority.create();
    files = await authority.issue('shop', { dns: ['shop.test'] });
    origin = await httpOrigin(async (request, response) => {
      const body = await readBody(request);
      response.setHeader('Set-Cookie', ['a=1', 'b=2']);
      response.end(JSON.stringify({ method: request.method, url: request.url, host: request.headers.host, headers: request.headers, body }));
    });
    engine = await startEngine([origin.address], { kind: FastifyListener, tls: { ...files, certificates: [], minVersion: 'TLSv1.2' } });
    session = connect(`https://127.0.0.1:${engine.port}`, { servername: 'shop.test', ca: readFileSync(authority.ca) });
  });
  after(async () => {
    session.close();
    await engine.close();
    await origin.close();
    authority.remove();
  });

  async function ask(fields: Readonly<Record<string, string>>, body?: string): Promise<{ status: number; fields: Record<string, unknown>; body: string }> {
    const stream = session.request({ ':path': '/', ':authority': 'shop.test', ...fields }, { endStream: body === undefined });
    if (body !== undefined) stream.end(body);
    const [answer] = (await once(stream, 'response')) as [Record<string, unknown>];
    let text = '';
    for await (const chunk of stream) text += String(chunk);
    return { status: Number(answer[':status']), fields: answer, body: text };
  }

  test('is chosen by ALPN, and goes upstream as HTTP/1.1', async () => {
    const { status, fields, body } = await ask({ ':path': '/a/../b?c', 'x-one': '1' });
    assert.equal(session.alpnProtocol, 'h2');
    const seen = JSON.parse(body) as { url: string; host: string; headers: Record<string, string> };
    assert.deepEqual([status, seen.url, seen.host, seen.headers['x-one']], [200, '/b?c', 'shop.test', '1']);
    assert.deepEqual(fields['set-cookie'], ['a=1', 'b=2']);
    assert.equal(engine.finished.at(-1)!.httpVersion, '2');
  });

  test('carries bodies, with and without a length', async () => {
    for (const fields of [{}, { 'content-length': '5' }]) {
      const { body } = await ask({ ':method': 'POST', ...fields }, 'hello');
      assert.equal((JSON.parse(body) as { body: string }).body, 'hello');
    }
  });

  test('keeps a hundred requests of one connection apart', async () => {
    const answers = await Promise.all(Array.from({ length: 100 }, (_, index) => ask({ ':path': `/${index}` })));
    assert.deepEqual(answers.map(({ body }) => (JSON.parse(body) as { url: string }).url), Array.from({ length: 100 }, (_, index) => `/${index}`));
  });

  test('refuses what the engine refuses, and the connection goes on', async () => {
    assert.equal((await ask({ ':path': '/a%2fb' })).status, 400);
    // From Node 24 on the HTTP/2 library refuses this one itself, and resets the stream.
    const odd = await ask({ ':authority': 'me@shop' }).then(({ status }) => status, (error: unknown) => (error as NodeJS.ErrnoException).code);
    assert.ok(odd === 400 || odd === 'ERR_HTTP2_STREAM_ERROR', String(odd));
    assert.equal((await ask({})).status, 200);
  });

  test('serves HTTP/1.1 beside it', async () => {
    const socket = connectTls({ port: engine.port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca), ALPNProtocols: ['http/1.1'] });
    socket.write('GET /old HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\n\r\n');
    let text = '';
    for await (const chunk of socket) text += String(chunk);
    assert.match(text, /^HTTP\/1\.1 200 OK[^]*"url":"\/old"/);
  });

  for (const [name, leave] of [
    ['resets it', (_client, stream) => stream.close(constants.NGHTTP2_CANCEL)],
    ['leaves', (client) => client.destroy()],
  ] as readonly (readonly [name: string, leave: (client: ClientHttp2Session, stream: ClientHttp2Stream) => void])[]) {
    for (const method of ['GET', 'HEAD']) {
      test(`a ${method} whose client ${name} before it is answered is over`, options, async () => {
        const { silent, seen } = await silentOrigin();
        const own = await startEngine([silent.address], { kind: FastifyListener, tls: { ...files, certificates: [], minVersion: 'TLSv1.2' } });
        const client = connect(`https://127.0.0.1:${own.port}`, { servername: 'shop.test', ca: readFileSync(authority.ca) });
        const stream = client.request({ ':path': '/', ':method': method });
        stream.on('error', () => {});
        await until(() => seen.requests === 1);
        leave(client, stream);
        const [exchange] = await own.untilFinished(1);
        assert.deepEqual([exchange!.status, exchange!.errorCode], [499, 'client_closed']);
        await until(() => seen.open === 0);
        client.destroy();
        await own.close();
        await silent.close();
      });
    }
  }

  test('an answer that breaks off resets its stream, and only that', async () => {
    const broken = await tcpOrigin((socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf')));
    const own = await startEngine([broken.address], { kind: FastifyListener, tls: { ...files, certificates: [], minVersion: 'TLSv1.2' } });
    const client = connect(`https://127.0.0.1:${own.port}`, { servername: 'shop.test', ca: readFileSync(authority.ca) });
    const stream = client.request({ ':path': '/' });
    await assert.rejects(async () => {
      for await (const chunk of stream) assert.ok(chunk);
    });
    assert.equal(client.destroyed, false);
    assert.equal((await own.untilFinished(1))[0]!.errorCode, 'upstream_truncated');
    client.destroy();
    await own.close();
    await broken.close();
  });
});

describe('what the stock plugin gets wrong', () => {
  test('a client that leaves cancels the attempt and counts as 499', async () => {
    let requested: (() => void) | undefined;
    let closed: (() => void) | undefined;
    const untilRequested = new Promise<void>((resolve) => (requested = resolve));
    const untilClosed = new Promise<void>((resolve) => (closed = resolve));
    const origin = await tcpOrigin((socket) => {
      socket.on('data', () => requested!());
      socket.on('close', () => closed!());
    });
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    client.send(get);
    await untilRequested;
    client.close();
    await untilClosed;
    const [exchange] = await engine.untilFinished(1);
    assert.deepEqual([exchange!.status, exchange!.errorCode], [499, 'client_closed']);
    await engine.close();
    await origin.close();
  });

  test('a client that leaves ends what is under way, and what it has sent ahead never begins', options, async () => {
    const { silent, seen } = await silentOrigin();
    const engine = await startEngine([silent.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    client.send(get.repeat(3));
    await until(() => seen.requests === 1);
    client.close();
    const [exchange] = await engine.untilFinished(1);
    assert.deepEqual([exchange!.status, exchange!.errorCode], [499, 'client_closed']);
    await until(() => seen.open === 0);
    assert.deepEqual([seen.requests, engine.finished.length], [1, 1]);
    await engine.close();
    await silent.close();
  });

  test('requests that are sent ahead are carried out one after the other', options, async () => {
    const order: string[] = [];
    const origin = await httpOrigin(async (request, response) => {
      order.push(`>${request.url}`);
      await readBody(request);
      // All that was sent would be here by then.
      for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
      order.push(`<${request.url}`);
      response.end('ok');
    });
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const answers = await exchangeRaw(engine.port, 'POST /1 HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\n\r\nxDELETE /2 HTTP/1.1\r\nHost: shop\r\n\r\nPOST /3 HTTP/1.1\r\nHost: shop\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx');
    assert.equal(answers.split('HTTP/1.1 200').length, 4);
    assert.deepEqual(order, ['>/1', '</1', '>/2', '</2', '>/3', '</3']);
    await engine.close();
    await origin.close();
  });

  test('a connection on which too many are sent ahead is closed', options, async () => {
    const { silent, seen } = await silentOrigin();
    const engine = await startEngine([silent.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    client.send(get);
    await until(() => seen.requests === 1);
    client.send(get.repeat(1_001));
    await client.untilClosed();
    await until(() => seen.open === 0);
    assert.equal(seen.requests, 1);
    await engine.close();
    await silent.close();
  });

  for (const [protocol, kind, request] of ['TCP', 'TLS'].flatMap((protocol) => [
    [protocol, 'heads', `GET / HTTP/1.1\r\nHost: shop\r\nX-Long: ${'x'.repeat(15_000)}\r\n\r\n`],
    [protocol, 'bodies', `POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 30000\r\n\r\n${'x'.repeat(30_000)}`],
  ] as const)) {
    test(`a client that sends more ahead than is kept is read no more until it is its turn: ${kind} over ${protocol}`, { timeout: 60_000 }, async (context) => {
      let answer!: () => void;
      const mayAnswer = new Promise<void>((resolve) => (answer = resolve));
      const origin = await httpOrigin(async (request, response) => {
        await Promise.all([readBody(request), mayAnswer]);
        response.end('ok');
      });
      const authority = await TestAuthority.create();
      context.after(() => authority.remove());
      const engine = await startEngine([origin.address], { kind: FastifyListener, ...(protocol === 'TLS' && { tls: { ...(await authority.issue('shop', { dns: ['shop.test'] })), certificates: [], minVersion: 'TLSv1.2' as const } }) });
      const client = protocol === 'TLS' ? connectTls({ port: engine.port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca) }) : connectTcp({ port: engine.port, host: '127.0.0.1' });
      let text = '';
      let taken = 0;
      client.setEncoding('latin1').on('data', (data: string) => (text += data));
      // More than the kernel holds.
      const sent = 950;
      for (let index = 0; index < sent; index++) client.write(request, () => taken++);
      client.write(get.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n'));
      await untilStill(() => taken);
      assert.ok(taken < sent, `${taken} were taken while nothing was answered`);
      answer();
      await once(client, 'end');
      assert.equal(text.split('HTTP/1.1 200').length - 1, sent + 1);
      await engine.close();
      await origin.close();
    });
  }

  test('behind a request with Upgrade, of which Node drops what it has read, nothing is taken for a request', options, async () => {
    const seen: string[] = [];
    const origin = await httpOrigin((request, response) => {
      seen.push(request.url!);
      response.end('ok');
    });
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    const smuggled = 'GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n';
    client.send(`GET /1 HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nPOST /2 HTTP/1.1\r\nHost: shop\r\nContent-Length: ${smuggled.length}\r\n\r\n`);
    client.send(smuggled);
    assert.match(await client.untilClosed(), /^HTTP\/1\.1 200 [^]*connection: close\r\n[^]*ok$/i);
    assert.deepEqual(seen, ['/1']);
    await engine.close();
    await origin.close();
  });

  for (const [name, method] of [['an upload that the endpoint does not take', 'POST'], ['a GET whose body nobody reads', 'GET']] as const) {
    test(`a client that resets its connection within ${name} is noticed`, options, async () => {
      let open = 0;
      const origin = await tcpOrigin((socket) => {
        open++;
        if (method === 'POST') socket.pause();
        else socket.resume();
        socket.on('close', () => open--);
      });
      const engine = await startEngine([origin.address], { kind: FastifyListener });
      const client = connectTcp({ port: engine.port, host: '127.0.0.1' });
      client.on('error', () => {});
      client.write(`${method} / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100000000\r\n\r\n`);
      // More than everybody on the way may hold.
      for (let sent = 0; sent < 32; sent++) client.write(Buffer.alloc(1 << 20));
      await until(() => open === 1);
      await untilStill(() => client.bytesWritten - client.writableLength);
      client.resetAndDestroy();
      const [exchange] = await engine.untilFinished(1);
      assert.equal(exchange!.errorCode, 'client_closed');
      if (method === 'GET') await until(() => open === 0);
      await engine.close();
      await origin.close();
    });
  }

  test('a client that waited for us has not been slow', options, async () => {
    const origin = await httpOrigin(async (request, response) => response.end(String((await readBody(request)).length)));
    const engine = await startEngine([origin.address], { kind: FastifyListener, limits: { bodyIdleTimeout: 50 }, layer: (next) => async (request, exchange) => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      return next(request, exchange);
    } });
    const size = 4 << 20;
    const answer = await exchangeRaw(engine.port, `POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: ${size}\r\nConnection: close\r\n\r\n${'x'.repeat(size)}`);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 200 [^]*${size}$`));
    await engine.close();
    await origin.close();
  });

  test('an answer to a client of HTTP/1.0 that breaks off ends with a reset', options, async () => {
    const origin = await tcpOrigin((socket) => socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
      setImmediate(() => socket.destroy());
    }));
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const client = connectTcp({ port: engine.port, host: '127.0.0.1' });
    client.write('GET / HTTP/1.0\r\nHost: shop\r\n\r\n');
    client.resume();
    const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
    assert.equal(error.code, 'ECONNRESET');
    await engine.close();
    await origin.close();
  });

  test('a GET that gets 503 is sent once', async () => {
    let requests = 0;
    const origin = await httpOrigin((_request, response) => {
      requests++;
      response.writeHead(503).end();
    });
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    assert.match(await exchangeRaw(engine.port, get.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')), /^HTTP\/1\.1 503 /);
    assert.equal(requests, 1);
    await engine.close();
    await origin.close();
  });

  test('CONNECT in a pipeline is refused when the requests before it have had their answers', options, async () => {
    const { silent, engine, client, asked } = await held();
    client.send(`${get}CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n`);
    const socket = await asked;
    socket.write('HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok');
    assert.match(await client.untilClosed(), /^HTTP\/1\.1 200 [^]*\r\n\r\nokHTTP\/1\.1 405 [^]*method_refused/);
    await engine.close();
    await silent.close();
  });

  test('a body that breaks its framing is the fault of its client, which hears so', options, async () => {
    const { silent, engine, client, asked } = await held();
    client.send('POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    await asked;
    client.send('zz\r\n');
    assert.match(await client.untilClosed(), /^HTTP\/1\.1 400 [^]*connection: close\r\n[^]*bad_request/i);
    const [exchange] = await engine.untilFinished(1);
    assert.deepEqual([exchange!.status, exchange!.errorCode], [400, 'bad_request']);
    await engine.close();
    await silent.close();
  });

  test('the body of a GET, which Fastify does not read, ends with its answer', options, async () => {
    const origin = await httpOrigin((_request, response) => response.end('ok'));
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    client.send('GET / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n');
    assert.match(await client.untilClosed(), /^HTTP\/1\.1 200 [^]*connection: close\r\n[^]*ok$/i);
    await engine.close();
    await origin.close();
  });

  test('a drain waits for a head that has begun, and for its answer', options, async () => {
    const origin = await httpOrigin((_request, response) => response.end('ok'));
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const [client, idle] = [await RawClient.connect(engine.port), await RawClient.connect(engine.port)];
    client.send(`${get}GET / HT`);
    await client.until((text) => text.endsWith('ok'));
    await until(() => engine.listener.connectionCount === 2);
    const drained = engine.listener.drain();
    assert.equal(await idle.untilClosed(), '');
    client.send('TP/1.1\r\nHost: shop\r\n\r\n');
    assert.match(await client.untilClosed(), /ok(HTTP\/1\.1 200 [^]*connection: close\r\n[^]*ok)$/i);
    await drained;
    await engine.close();
    await origin.close();
  });

  test('trailers of a request keep their names, and each its own line', options, async () => {
    let trailers: string[] = [];
    const origin = await httpOrigin(async (request, response) => {
      await readBody(request);
      trailers = request.rawTrailers;
      response.end('ok');
    });
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    await exchangeRaw(engine.port, 'POST / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-Sum: 2\r\n\r\n');
    assert.deepEqual(trailers, ['X-Sum', '1', 'X-Sum', '2']);
    await engine.close();
    await origin.close();
  });

  test('a body that is too large is refused mid-stream', async () => {
    const origin = await httpOrigin((request, response) => void readBody(request).then(() => response.end(), () => undefined));
    const engine = await startEngine([origin.address], { kind: FastifyListener, limits: { maxBodyBytes: 10 } });
    const answer = await exchangeRaw(engine.port, 'POST / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n6\r\nworld!\r\n0\r\n\r\n');
    assert.match(answer, /^HTTP\/1\.1 413 [^]*body_too_large/);
    await engine.close();
    await origin.close();
  });
});

test('listens on a path, also where a process that is gone has left its socket', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'fastify-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const [path, left] = [join(folder, 'front'), join(folder, 'left')];
  const gone = createServer().listen(left);
  await once(gone, 'listening');
  // A server takes its own name away as it closes, but no other.
  linkSync(left, path);
  gone.close();
  await once(gone, 'close');
  const origin = await httpOrigin((_request, response) => response.end('ok'));
  const engine = await startEngine([origin.address], { kind: FastifyListener, listen: { path } });
  assert.equal(engine.port, 0);
  const socket = connectTcp(path);
  socket.write('GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n');
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  assert.match(text, /^HTTP\/1\.1 200 OK[^]*ok$/);
  await engine.close();
  await origin.close();
});
