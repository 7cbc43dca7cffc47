import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, constants, type ClientHttp2Session, type ClientHttp2Stream, type ClientSessionRequestOptions } from 'node:http2';
import { after, before, describe, test } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { httpOrigin, readBody, tcpOrigin, type Origin } from '../../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../../tests/support/raw-client.js';

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
    stream.on('response', (response) => (fields = response));
    stream.on('trailers', (last) => (trailers = last));
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
      const body = await readBody(request);
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
    const { createServer } = await import('node:net');
    const relay = createServer((client) => {
      // Passes on byte by byte what the client sends first.
      const upstream = new RawClientSocket(engine.port);
      client.on('data', (data) => upstream.drip(data));
      upstream.socket.pipe(client);
      client.on('error', () => {});
      client.on('close', () => upstream.socket.destroy());
    });
    await once(relay.listen(0, '127.0.0.1'), 'listening');
    const slow = connect(`http://127.0.0.1:${(relay.address() as { port: number }).port}`);
    assert.equal((await ask(slow)).status, 200);
    slow.destroy();
    relay.close();
  });
});

class RawClientSocket {
  readonly socket;
  #queue: Promise<unknown> = Promise.resolve();
  constructor(port: number) {
    this.socket = netConnect({ port, host: '127.0.0.1', noDelay: true });
    this.socket.on('error', () => {});
  }
  drip(data: Buffer): void {
    for (const byte of data.subarray(0, 40)) this.#queue = this.#queue.then(() => new Promise((resolve) => this.socket.write(Buffer.from([byte]), () => setImmediate(resolve))));
    if (data.length > 40) this.#queue = this.#queue.then(() => this.socket.write(data.subarray(40)));
  }
}
import { connect as netConnect } from 'node:net';

void [readFileSync, constants, TestAuthority, tcpOrigin];
export type { KeyPairFiles };
