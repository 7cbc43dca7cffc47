import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type Http2ServerResponse } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { tcpOrigin } from '../../tests/support/origin.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { upstreamSchema, type UpstreamConfig } from '../config/sections.js';

type Answer = ServerResponse | Http2ServerResponse;

function breakOff(response: Answer): void {
  if ('stream' in response) response.stream.close(2);
  else response.socket!.resetAndDestroy();
}

const idle = 200;
const cases: readonly (readonly [name: string, status: number, end: (response: Answer) => void, told: boolean])[] = [
  ['is broken off', 200, breakOff, true],
  ['is broken off, and whose status was a failure already,', 500, breakOff, false],
  ['is whole', 200, (response) => void response.end('e'), false],
  ['is silent for too long', 200, () => {}, false],
];

describe('an answer within its body', () => {
  for (const protocol of ['h1', 'h2', 'auto'] as const) {
    for (const [name, status, end, told] of cases) {
      test(`over ${protocol}: who watches the endpoint is ${told ? '' : 'not '}told of one that ${name}`, async () => {
        const answers: Answer[] = [];
        const answer = (_request: unknown, response: Answer): void => {
          answers.push(response);
          response.writeHead(status, { 'Content-Length': '10' });
          // A method of each type, not one of both.
          if ('stream' in response) response.write('beginning');
          else response.write('beginning');
        };
        const server = protocol === 'h2' ? createHttp2Server(answer) : createServer(answer);
        await once(server.listen(0, '127.0.0.1'), 'listening');
        const upstream: Partial<UpstreamConfig> = upstreamSchema.parse({ protocol, bodyIdleTimeout: idle });
        delete upstream.endpoints;
        const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream });
        const broken: unknown[] = [];
        engine.upstream.endpoints[0]!.pool.onBrokenOff = (exchange) => broken.push(exchange);
        const client = await RawClient.connect(engine.port);
        client.send('GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n');
        await client.until((text) => text.includes('beginning'));
        end(answers[0]!);
        const finished = await engine.untilFinished(1);
        assert.deepEqual(broken, told ? finished : []);
        await engine.close();
        server.close();
      });
    }

    test(`over ${protocol}: nobody is told of one whose client left`, async () => {
      const server = protocol === 'h2' ? createHttp2Server((_request, response) => void response.write('beginning')) : createServer((_request, response) => void response.write('beginning'));
      await once(server.listen(0, '127.0.0.1'), 'listening');
      const upstream: Partial<UpstreamConfig> = upstreamSchema.parse({ protocol });
      delete upstream.endpoints;
      const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream });
      engine.upstream.endpoints[0]!.pool.onBrokenOff = () => assert.fail('the endpoint did nothing');
      const client = await RawClient.connect(engine.port);
      client.send('GET / HTTP/1.1\r\nHost: shop\r\n\r\n');
      await client.until((text) => text.includes('beginning'));
      client.socket.resetAndDestroy();
      await engine.untilFinished(1);
      await engine.close();
      server.close();
    });
  }
});

describe('an answer that is broken within what came with its head', () => {
  for (const [name, rest] of [['a chunk of no size', '5\r\nfirst\r\nzz\r\n'], ['a chunk without its end', '5\r\nfirst!!']] as const) {
    test(`is none: ${name}`, async () => {
      const origin = await tcpOrigin((socket) => socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${rest}`)));
      const engine = await startEngine([origin.address]);
      const broken: unknown[] = [];
      engine.upstream.endpoints[0]!.pool.onBrokenOff = (exchange) => broken.push(exchange);
      const response = await fetch(`http://127.0.0.1:${engine.port}/`);
      assert.deepEqual([response.status, await response.text(), broken], [502, 'upstream_protocol', []]);
      await engine.close();
      await origin.close();
    });
  }
});
