import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:https';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import { after, before, describe, test, type TestContext } from 'node:test';
import { TestAuthority, type KeyPairFiles } from '../../tests/support/certificates.js';
import { httpOrigin, readBody, refusedPort, tcpOrigin } from '../../tests/support/origin.js';
import { systemClock } from '../clock/clock.js';
import { FakeClock } from '../clock/fake-clock.js';
import { HttpClient, isSuccess } from './http-client.js';

const never = new AbortController().signal;
const tlsOf = ({ socket }: IncomingMessage): TLSSocket => socket as unknown as TLSSocket;

/** A server that speaks for itself, and a client that is closed with the test. */
async function start(context: TestContext, handler: (socket: Socket) => void, clock = new FakeClock()): Promise<{ url: string; client: HttpClient; clock: FakeClock }> {
  const origin = await tcpOrigin(handler);
  const client = new HttpClient(clock);
  context.after(async () => {
    client.close();
    await origin.close();
  });
  return { url: `http://127.0.0.1:${origin.port}/`, client, clock };
}

describe('the client for what is asked beside the data path', () => {
  test('asks and is answered, one after the other over one connection', async (context) => {
    const seen: string[] = [];
    const ports = new Set<number>();
    const origin = await httpOrigin((request, response) => {
      ports.add(request.socket.remotePort!);
      void readBody(request).then((body) => {
        seen.push(`${request.method} ${request.url} ${request.headers['content-length']} ${String(request.headers['x-a'])} ${body}`);
        response.writeHead(request.url === '/moved' ? 302 : 200, { location: '/', etag: '"7"' }).end('grüezi');
      });
    });
    context.after(() => origin.close());
    const client = new HttpClient(systemClock);
    const url = `http://127.0.0.1:${origin.port}`;
    const answer = await client.ask(`${url}/x?y`, { signal: never, headers: { 'x-a': 'b' } });
    assert.deepEqual([answer.status, answer.headers.etag, await answer.text(7)], [200, '"7"', 'grüezi']);
    assert.equal(await (await client.ask(`${url}/put`, { method: 'PUT', body: 'grüezi', signal: never })).text(7), 'grüezi');
    // A redirect is an answer like others.
    const moved = await client.ask(`${url}/moved`, { method: 'DELETE', signal: never });
    assert.deepEqual([moved.status, isSuccess(moved.status), await moved.text(100)], [302, false, 'grüezi']);
    assert.deepEqual(seen, ['GET /x?y undefined b ', 'PUT /put 7 undefined grüezi', 'DELETE /moved undefined undefined ']);
    assert.equal(ports.size, 1);
    client.close();
  });

  test('fails where nobody listens, where nobody answers in time, and where there is no address', async (context) => {
    const news = new EventEmitter();
    const { client, url, clock } = await start(context, (socket) => socket.once('data', () => news.emit('reached')));
    await assert.rejects(client.ask(`http://127.0.0.1:${await refusedPort()}/`, { signal: never }), { code: 'ECONNREFUSED' });
    await assert.rejects(client.ask('nowhere', { signal: never }), /Invalid URL/);
    // Once it is reached there is a connection, which has a limit of its own; TLS that is not spoken is none.
    for (const [address, limit, message] of [[url, 10_000, 'no answer within 10000 ms'], [url.replace('http', 'https'), 2_000, 'no connection within 2000 ms']] as const) {
      const late = assert.rejects(client.ask(address, { signal: never }), { message });
      await once(news, 'reached');
      await clock.advance(limit);
      await late;
    }
    assert.equal(clock.pending, 0);
  });

  test('fails where the answer is a change of protocol, which nobody asked for', async (context) => {
    const { client, url, clock } = await start(context, (socket) => socket.once('data', () => socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n')));
    await assert.rejects(client.ask(url, { signal: never }), { message: 'the answer is 101, which nobody asked for' });
    assert.equal(clock.pending, 0);
  });

  test('an answer that is too long, or breaks off, is none', async (context) => {
    const closed: Promise<unknown>[] = [];
    const { client, url } = await start(context, (socket) => {
      closed.push(once(socket, 'close'));
      socket.once('data', (data) => {
        if (data.includes('/long')) socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n`);
        else socket.end('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n12345');
      });
    });
    await assert.rejects((await client.ask(`${url}long`, { signal: never })).text(4), /more than 4 bytes/);
    await closed[0];
    await assert.rejects((await client.ask(`${url}short`, { signal: never })).text(100), { code: 'ECONNRESET' });
    // Nobody reads, so nobody hears of it: not as an uncaught error either.
    (await client.ask(`${url}short`, { signal: never })).discard();
    await closed[2];
  });

  test('is broken off with the reason, before the answer and in the middle of its body', async (context) => {
    const closed: Promise<unknown>[] = [];
    const news = new EventEmitter();
    const { client, url } = await start(context, (socket) => {
      closed.push(once(socket, 'close'));
      socket.once('data', (data) => {
        if (data.includes('/body')) socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n');
        else news.emit('reached');
      });
    });
    const reason = new Error('enough');
    await assert.rejects(client.ask(url, { signal: AbortSignal.abort(reason) }), reason);
    const first = new AbortController();
    const unanswered = assert.rejects(client.ask(url, { signal: first.signal }), reason);
    await once(news, 'reached');
    first.abort(reason);
    await unanswered;
    const second = new AbortController();
    const answer = await client.ask(`${url}body`, { signal: second.signal });
    await assert.rejects(async () => {
      for await (const piece of answer.pieces) {
        assert.equal(piece.toString(), '12345');
        second.abort(reason);
      }
    }, reason);
    await Promise.all(closed);
    assert.equal(closed.length, 2);
  });

  test('ends what is under way when it is closed', async (context) => {
    const news = new EventEmitter();
    const { client, url } = await start(context, () => news.emit('reached'));
    const unanswered = assert.rejects(client.ask(url, { signal: never }), { code: 'ECONNRESET' });
    await once(news, 'reached');
    client.close();
    await unanswered;
  });

  describe('over https', () => {
    let authority: TestAuthority;
    let own: KeyPairFiles;
    let server: Server;
    let url: string;
    const shown: string[] = [];
    before(async () => {
      authority = await TestAuthority.create();
      const shop = await authority.issue('shop', { ip: ['127.0.0.1'] });
      own = await authority.issue('own', { dns: ['own.test'] });
      const files = { cert: readFileSync(shop.cert), key: readFileSync(shop.key), ca: readFileSync(authority.ca) };
      server = createServer({ ...files, requestCert: true, rejectUnauthorized: false }, (request, response) => {
        const { subject } = tlsOf(request).getPeerCertificate() as Partial<PeerCertificate>;
        shown.push(`${String(subject?.CN)} ${request.socket.remotePort}`);
        response.end('hello');
      }).listen(0, '127.0.0.1');
      await once(server, 'listening');
      url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    });
    after(() => {
      server.close().closeAllConnections();
      authority.remove();
    });

    test('believes whom it is told to believe, shows what it is told to show, and makes a connection anew for either', async () => {
      const client = new HttpClient(systemClock);
      const ca = readFileSync(authority.ca);
      await assert.rejects(client.ask(url, { signal: never }), { code: 'SELF_SIGNED_CERT_IN_CHAIN' });
      const hello = async (tls: object): Promise<void> => assert.equal(await (await client.ask(url, { signal: never, tls })).text(100), 'hello');
      await hello({ ca });
      await hello({ ca });
      await hello({ ca, cert: readFileSync(own.cert), key: readFileSync(own.key) });
      const [first, second, third] = shown.map((line) => line.split(' '));
      assert.deepEqual([first![0], second![0], third![0]], ['undefined', 'undefined', 'own']);
      assert.equal(first![1], second![1]);
      assert.notEqual(first![1], third![1]);
      client.close();
    });
  });
});
