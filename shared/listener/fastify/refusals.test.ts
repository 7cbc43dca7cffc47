import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { TestAuthority } from '../../../tests/support/certificates.js';
import { startEngine, type TestEngine } from '../../../tests/support/engine.js';
import { frame, FramePeer, frameType, headers, preface, requestFields } from '../../../tests/support/http2-frames.js';
import { httpOrigin, tcpOrigin, type Origin } from '../../../tests/support/origin.js';
import { RawClient } from '../../../tests/support/raw-client.js';
import { FastifyListener } from './fastify-listener.js';

const options = { timeout: 20_000 };
const get = (path: string): string => `GET ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`;
const nonsense = 'nonsense\r\n\r\n';

describe('what Fastify or Node would refuse in words of their own', () => {
  let authority: TestAuthority;
  let origin: Origin;
  let engine: TestEngine;
  before(async () => {
    authority = await TestAuthority.create();
    origin = await httpOrigin((_request, response) => response.end('ok'));
    engine = await startEngine([origin.address], { kind: FastifyListener, limits: { maxHeaders: 100, maxHeadBytes: 4_000 }, tls: { ...(await authority.issue('shop', { dns: ['shop.test'] })), certificates: [], minVersion: 'TLSv1.2' } });
  });
  after(async () => {
    await engine.close();
    await origin.close();
    authority.remove();
  });

  async function dial(protocol: 'h2' | 'http/1.1'): Promise<Socket> {
    const socket = connectTls({ port: engine.port, host: '127.0.0.1', servername: 'shop.test', ca: readFileSync(authority.ca), ALPNProtocols: [protocol] });
    socket.on('error', () => {});
    await once(socket, 'secureConnect');
    return socket;
  }

  const fields = (changes: Readonly<Record<string, string | undefined>> = {}, more: readonly [string, string][] = []) => headers(1, [...requestFields({ ':scheme': 'https', ...changes }), ...more]);
  const streams: readonly (readonly [name: string, sent: Buffer, code: string])[] = [
    ['a method that nobody knows', fields({ ':method': 'BREW' }), 'bad_request'],
    ['a method in small letters', fields({ ':method': 'get' }), 'bad_request'],
    ['CONNECT', fields({ ':method': 'CONNECT', ':path': undefined, ':scheme': undefined, ':authority': 'shop:443' }), 'method_refused'],
    ['an unknown expectation', fields({ ':method': 'POST' }, [['expect', 'magic']]), 'expectation_failed'],
    ['too many fields', fields({}, Array.from({ length: 150 }, (_, index) => [`x${index}`, '1'])), 'head_too_large'],
    ['fields that are too long', fields({}, [['x', 'a'.repeat(5_000)]]), 'head_too_large'],
  ];
  for (const [name, sent, code] of streams) {
    test(`is told our code, and so is the log: ${name}, over HTTP/2`, options, async () => {
      const count = engine.finished.length;
      const peer = new FramePeer(await dial('h2')).send(preface, frame(frameType.settings, 0, 0), sent);
      const answer = await peer.until(({ type, stream }) => type === frameType.data && stream === 1);
      assert.equal(answer.payload.toString(), code);
      await engine.untilFinished(count + 1);
      assert.equal(engine.finished[count]!.errorCode, code);
      peer.close();
    });
  }

  const bytes: readonly (readonly [name: string, sent: string, answer: RegExp, code: string])[] = [
    ['what is no request', nonsense, /^HTTP\/1\.1 400 [^]*bad_request/, 'bad_request'],
    ['a head that is too large', `GET / HTTP/1.1\r\nHost: shop\r\nX: ${'a'.repeat(5_000)}`, /^HTTP\/1\.1 431 [^]*head_too_large/, 'head_too_large'],
    ['HTTP/1.1 without a host', 'GET / HTTP/1.1\r\n\r\n', /^HTTP\/1\.1 400 [^]*bad_request/, 'bad_request'],
    ['CONNECT', 'CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n', /^HTTP\/1\.1 405 [^]*method_refused/, 'method_refused'],
    ['an unknown expectation', 'POST / HTTP/1.1\r\nHost: shop\r\nExpect: magic\r\nContent-Length: 1\r\n\r\n', /^HTTP\/1\.1 417 [^]*expectation_failed/, 'expectation_failed'],
  ];
  for (const [name, sent, answer, code] of bytes) {
    test(`is told our code, and so is the log: ${name}, over HTTP/1.1`, options, async () => {
      const count = engine.finished.length;
      const socket = await dial('http/1.1');
      let text = '';
      socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
      socket.write(sent);
      await once(socket, 'close');
      assert.match(text, answer);
      await engine.untilFinished(count + 1);
      assert.equal(engine.finished[count]!.errorCode, code);
    });
  }
});

describe('what cannot be read behind a request', () => {
  test('is not answered within the answer before it', options, async () => {
    let break_!: () => void;
    const origin = await tcpOrigin((socket) => {
      break_ = () => socket.destroy();
      socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 89\r\n\r\n${'A'.repeat(23)}`));
    });
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    client.send(get('/'));
    await client.until((text) => text.endsWith('A'.repeat(23)));
    client.send(nonsense);
    client.send(nonsense);
    // It is read before what ends the wait.
    const other = await RawClient.connect(engine.port);
    await other.send(nonsense).untilClosed();
    break_();
    const text = await client.untilClosed();
    assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), 'A'.repeat(23));
    await engine.close();
    await origin.close();
  });

  test('is not answered in place of a request that is not answered yet, but after it', options, async () => {
    let answer!: () => void;
    let arrived!: () => void;
    const untilArrived = new Promise<void>((resolve) => (arrived = resolve));
    const origin = await httpOrigin((request, response) => {
      if (request.url === '/2') response.end('second');
      else {
        answer = () => response.end('first');
        arrived();
      }
    });
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    client.send(get('/1') + get('/2') + nonsense);
    await untilArrived;
    answer();
    const text = await client.untilClosed();
    assert.deepEqual(text.match(/HTTP\/1\.1 \d{3}|first|second|bad_request/g), ['HTTP/1.1 200', 'first', 'HTTP/1.1 200', 'second', 'HTTP/1.1 400', 'bad_request']);
    await engine.close();
    await origin.close();
  });

  test('is not answered within the answer to its own request', options, async () => {
    const origin = await tcpOrigin((socket) => socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 89\r\n\r\n${'A'.repeat(23)}`)));
    const engine = await startEngine([origin.address], { kind: FastifyListener });
    const client = await RawClient.connect(engine.port);
    client.send('POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n');
    await client.until((text) => text.endsWith('A'.repeat(23)));
    const text = await client.send('z\r\n').untilClosed();
    assert.equal(text.slice(text.indexOf('\r\n\r\n') + 4), 'A'.repeat(23));
    await engine.close();
    await origin.close();
  });
});
