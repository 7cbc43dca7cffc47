import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:http2';
import { describe, test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { tcpOrigin } from '../../tests/support/origin.js';
import { response } from '../../tests/support/policy.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { systemClock } from '../clock/clock.js';
import type { Exchange } from '../http/exchange.js';
import { Headers } from '../http/headers.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';

/** Sends a body piece by piece. */
interface Upload {
  readonly send: (text: string) => void;
  readonly end: () => void;
  readonly close: () => void;
}

type Start = (port: number, fields: Readonly<Record<string, string>>) => Promise<Upload>;

const overHttp1: Start = async (port, fields) => {
  const client = await RawClient.connect(port);
  client.send(`POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n${Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`).join('')}\r\n`);
  return { send: (text) => void client.send(`${text.length.toString(16)}\r\n${text}\r\n`), end: () => void client.send('0\r\n\r\n'), close: () => client.close() };
};

const overHttp2: Start = async (port, fields) => {
  const session = connect(`http://127.0.0.1:${port}`);
  const stream = session.request({ ':path': '/', ':method': 'POST', ...fields }, { endStream: false });
  return { send: (text) => void stream.write(text), end: () => void stream.end(), close: () => session.destroy() };
};

/** A request whose body the test reads itself. */
async function open(start: Start, fields: Readonly<Record<string, string>> = {}) {
  let seen: ((request: HttpRequest, exchange: Exchange, answer: (response: HttpResponse) => void) => void) | undefined;
  const arrived = new Promise<{ request: HttpRequest; exchange: Exchange; answer: (response: HttpResponse) => void }>((resolve) => (seen = (request, exchange, answer) => resolve({ request, exchange, answer })));
  const engine = await startEngine([], { listen: { http2: 'engine' }, layer: () => (request, exchange) => new Promise((answer) => seen!(request, exchange, answer)) });
  const upload = await start(engine.port, fields);
  const { request, exchange, answer } = await arrived;
  const { body } = request;
  const told: string[] = [];
  let wantsMore = true;
  let wake: (() => void) | undefined;
  const tell = (what: string): boolean => {
    told.push(what);
    wake?.();
    return wantsMore;
  };
  return {
    exchange, body, upload, arrival: body.arrival!,
    /** What it would count as awaited from now on, if nothing happened (ms a second). */
    perSecond: (): number => Math.round(body.arrival!.awaitedMs(systemClock.now() + 1_000_000) / 1_000 - body.arrival!.awaitedMs(systemClock.now()) / 1_000),
    read: (): void => body.pipe({ chunk: (data) => tell(data.toString()), end: () => tell('end'), fail: () => tell('fail') }),
    want: (more: boolean): void => void (wantsMore = more),
    until: async (what: string): Promise<void> => {
      while (!told.includes(what)) await new Promise<void>((resolve) => (wake = resolve));
    },
    close: async (): Promise<void> => {
      answer(response(200));
      await engine.untilFinished(1);
      upload.close();
      await engine.close();
    },
  };
}

for (const [protocol, start] of [['HTTP/1.1', overHttp1], ['HTTP/2', overHttp2]] as const) {
  describe(`a body that is still to come, over ${protocol}`, () => {
    test('is awaited from its client, not while that is made to wait, nor once it is whole', async () => {
      const { body, upload, arrival, perSecond, read, want, until, close } = await open(start);
      assert.equal(perSecond(), 1_000, 'before it is read');
      read();
      upload.send('one');
      await until('one');
      assert.equal(perSecond(), 1_000, 'between two pieces');
      want(false);
      upload.send('two');
      await until('two');
      assert.deepEqual([perSecond(), arrival.isOwed], [0, false], 'while nobody wants more');
      want(true);
      body.resume();
      assert.deepEqual([perSecond(), arrival.isComplete, arrival.isOwed], [1_000, false, true], 'when more is wanted');
      upload.end();
      await until('end');
      assert.deepEqual([perSecond(), arrival.isComplete, arrival.isOwed], [0, true, false], 'when it is whole');
      await close();
    });

    test('is not awaited before its client was asked for it', async () => {
      const { exchange, upload, arrival, perSecond, read, until, close } = await open(start, { expect: '100-continue' });
      read();
      assert.deepEqual([perSecond(), arrival.isOwed], [0, true]);
      exchange.inform!(100, Headers.empty());
      assert.equal(perSecond(), 1_000);
      upload.end();
      await until('end');
      await close();
    });
  });
}

test('a client that waits to be asked for its body is late only afterwards', { timeout: 20_000 }, async () => {
  const origin = await tcpOrigin((socket) => socket.once('data', () => setTimeout(() => socket.write('HTTP/1.1 100 Continue\r\n\r\n'), 300)));
  const engine = await startEngine([origin.address], { listen: { http2: 'engine' }, limits: { bodyIdleTimeout: 100 } });
  const client = await RawClient.connect(engine.port);
  assert.match(await client.send('POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n').untilClosed(), /^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 408 /);
  const session = connect(`http://127.0.0.1:${engine.port}`);
  const stream = session.request({ ':path': '/', ':method': 'POST', expect: '100-continue' }, { endStream: false });
  const told: unknown[] = [];
  stream.on('continue', () => told.push(100)).on('response', (fields) => told.push(fields[':status'])).resume();
  await once(stream, 'response');
  assert.deepEqual(told, [100, 408]);
  session.destroy();
  await engine.close();
  await origin.close();
});

test('a call of gRPC awaits nothing: its streams are open by design', async () => {
  const { upload, arrival, perSecond, read, until, close } = await open(overHttp2, { 'content-type': 'application/grpc' });
  read();
  assert.deepEqual([perSecond(), arrival.isComplete, arrival.isOwed], [0, false, true]);
  upload.end();
  await until('end');
  assert.equal(arrival.isComplete, true);
  await close();
});
