import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect, createServer as createHttp2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { exchange, openEnded, request, upload } from '../../tests/support/policy.js';
import { delay, systemClock } from '../clock/clock.js';
import { emptyBody, type Body } from '../http/body.js';
import { learnFromAnswer, withoutSending } from './latency-lessons.js';
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
      learnFromAnswer(latency, asked, from, 1_200);
      assert.equal(latency.isKnown ? latency.at(1_200) : undefined, expected);
    });
  }
});

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
