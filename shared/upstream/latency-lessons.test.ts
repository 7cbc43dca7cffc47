import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createHttp2Server, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { exchange, openEnded, request, upload } from '../../tests/support/policy.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { delay, systemClock } from '../clock/clock.js';
import { ProxyError } from '../errors/proxy-error.js';
import { emptyBody, type Body } from '../http/body.js';
import { learnFromAnswer, learnFromFailure, withoutSending } from './latency-lessons.js';
import { PeakEwma } from './peak-ewma.js';

describe('the latency that an answer teaches', () => {
  const cases: readonly (readonly [name: string, body: Body, startedAt: number, expected: number | undefined])[] = [
    ['is the time since the attempt began', emptyBody, 200, 1_000],
    ['leaves out what the client took to send the request', upload(100, 1_150), 200, 50],
    ['leaves nothing out that was over before the attempt', upload(0, 150), 200, 1_000],
    ['is none while the request is still being sent', upload(0, 2_000), 200, undefined],
    ['is none while a stream is open', openEnded(), 200, undefined],
  ];
  for (const [name, body, startedAt, expected] of cases) {
    test(name, () => {
      const latency = new PeakEwma();
      const asked = request(exchange(), { body });
      const from = withoutSending(asked, startedAt);
      body.arrival?.awaitedMs(1_200);
      learnFromAnswer(latency, asked, false, from, 1_200);
      assert.equal(latency.isKnown ? latency.at(1_200) : undefined, expected);
    });
  }
});

describe('an endpoint that fails at once', () => {
  for (const [name, protocol, answer] of [
    ['with 503', 'h1', { ':status': 503 }],
    ['with 503', 'h2', { ':status': 503 }],
    ['as gRPC does', 'h2', { ':status': 200, 'content-type': 'application/grpc', 'grpc-status': 14 }],
  ] as const) {
    test(`does not look fast (${protocol}, ${name})`, async () => {
      const server = protocol === 'h1' ? createServer((_request, response) => void response.writeHead(answer[':status']).end('no')) : createHttp2Server();
      server.on('stream', (stream: ServerHttp2Stream) => stream.respond(answer, { endStream: true }));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: { protocol } });
      for (let count = 1; count <= 3; count++) await fetch(`http://127.0.0.1:${engine.port}/`).then((response) => response.text());
      const latency = engine.upstream.endpoints[0]!.latency.at(systemClock.now());
      await engine.close();
      server.close();
      assert.ok(latency > 100, `${latency} ms`);
    });
  }
});

describe('the latency that an attempt teaches which was given up', () => {
  const cases: readonly (readonly [name: string, body: Body, elapsed: number, known: number | undefined, expected: number | undefined])[] = [
    ['is at least what it took', emptyBody, 500, 10, 500],
    ['is nothing where that is less than usual', emptyBody, 5, 10, 10],
    ['is at least what it took where nothing else is known', emptyBody, 500, undefined, 500],
    ['is nothing where nothing else is known and it was short', emptyBody, 5, undefined, undefined],
    ['is no more than a failure teaches', emptyBody, 20_000, 10, 1_000],
    ['is nothing while its client was sending', openEnded(), 500, 10, 10],
    ['is nothing in line', emptyBody, -Infinity, 10, 10],
  ];
  for (const [name, body, elapsed, usual, expected] of cases) {
    test(name, () => {
      const latency = new PeakEwma();
      if (usual !== undefined) latency.observe(usual, 20_000);
      const over = exchange();
      const reason = new ProxyError('client_closed');
      over.cancellation.cancel(reason);
      learnFromFailure(latency, request(over, { body }), reason, 20_000 - elapsed, 20_000);
      assert.equal(latency.isKnown ? latency.at(20_000) : undefined, expected);
    });
  }

  test('is nothing where nobody gave it up', () => {
    const latency = new PeakEwma();
    learnFromFailure(latency, request(exchange()), new ProxyError('upstream_queue_full'), 0, 20_000);
    assert.equal(latency.isKnown, false);
  });

  for (const protocol of ['h1', 'h2'] as const) {
    test(`is known of an endpoint of ${protocol} that hangs when its client leaves`, { timeout: 20_000 }, async () => {
      let arrived = (): void => {};
      const isThere = new Promise<void>((resolve) => (arrived = resolve));
      const server = protocol === 'h1' ? createServer(() => arrived()) : createHttp2Server(() => arrived());
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: { protocol } });
      const client = (await RawClient.connect(engine.port)).send('GET / HTTP/1.1\r\nHost: shop\r\n\r\n');
      await isThere;
      await delay(systemClock, 100);
      client.socket.resetAndDestroy();
      await engine.untilFinished(1);
      const { latency } = engine.upstream.endpoints[0]!;
      while (!latency.isKnown) await new Promise((resolve) => setImmediate(resolve));
      assert.ok(latency.at(systemClock.now()) > 90);
      await engine.close();
      server.close();
    });
  }
});

for (const protocol of ['h1', 'h2'] as const) {
  test(`an endpoint of ${protocol} that owes an answer does not look faster for the silence before`, { timeout: 20_000 }, async (context) => {
    let held: { end(): unknown } | undefined;
    const answer = (request: { readonly url?: string | undefined }, response: { end(): unknown }): unknown => (request.url === '/held' ? (held = response) : response.end());
    const server = protocol === 'h1' ? createServer(answer) : createHttp2Server(answer);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: { protocol } });
    const { latency } = engine.upstream.endpoints[0]!;
    await (await fetch(`http://127.0.0.1:${engine.port}/`)).text();
    const usual = latency.at(systemClock.now());
    let ahead = 30_000;
    context.mock.method(systemClock, 'now', () => performance.now() + ahead);
    assert.ok(latency.at(systemClock.now()) < usual / 10);
    const client = (await RawClient.connect(engine.port)).send('GET /held HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n');
    while (held === undefined) await new Promise((resolve) => setImmediate(resolve));
    assert.ok(latency.at(systemClock.now()) > usual / 2, `${latency.at(systemClock.now())} of ${usual} ms`);
    held.end();
    await client.untilClosed();
    const known = latency.at(systemClock.now());
    ahead = 60_000;
    assert.ok(latency.at(systemClock.now()) < known / 10, 'it owes none any more');
    await engine.close();
    server.close();
  });
}

interface Answer {
  writeHead(status: number): unknown;
  write(text: string): unknown;
  end(text: string): unknown;
}

/** Answers when it has the whole request, or begins to at once, and ends then. */
function handle(request: { readonly url?: string | undefined; on(event: 'end', listener: () => void): { resume(): unknown } }, response: Answer): void {
  if (request.url === '/early') response.write('begun');
  request.on('end', () => response.end('ok')).resume();
}

/** What is known of an endpoint's latency (ms) after one request whose client takes 300 ms to send it. */
async function known(protocol: 'h1' | 'h2', type: string, path: string): Promise<number | undefined> {
  const server = protocol === 'h1' ? createServer(handle) : createHttp2Server(handle);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: { protocol }, listen: { http2: 'engine' } });
  const session = connect(`http://127.0.0.1:${engine.port}`);
  const stream = session.request({ ':method': 'POST', ':path': path, 'content-type': type }, { endStream: false });
  const answered = once(stream.resume(), 'response') as Promise<[{ ':status': number }]>;
  stream.write('some');
  await delay(systemClock, 300);
  stream.end('more');
  const [fields] = await answered;
  assert.equal(fields[':status'], 200);
  await engine.untilFinished(1);
  const { latency } = engine.upstream.endpoints[0]!;
  session.destroy();
  await engine.close();
  server.close();
  return latency.isKnown ? latency.at(systemClock.now()) : undefined;
}

for (const protocol of ['h1', 'h2'] as const) {
  for (const type of ['application/octet-stream', 'application/grpc']) {
    describe(`a client that is slow to send ${type}, to an endpoint of ${protocol}`, () => {
      test('does not make its endpoint slow', async () => {
        const latency = await known(protocol, type, '/');
        assert.ok(latency! < 150, `${latency} ms`);
      });

      test('teaches nothing where it is answered before that', async () => assert.equal(await known(protocol, type, '/early'), undefined));
    });
  }
}
