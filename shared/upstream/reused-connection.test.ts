import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, constants } from 'node:http2';
import type { Socket } from 'node:net';
import { describe, test, type TestContext } from 'node:test';
import { startEngine, type TestEngine, type TestEngineOptions } from '../../tests/support/engine.js';
import { tcpOrigin } from '../../tests/support/origin.js';
import { systemClock } from '../clock/clock.js';
import { emptyBody, type Body } from '../http/body.js';
import { Discard } from '../http/discard.js';
import { Headers } from '../http/headers.js';
import type { Layer } from '../http/service.js';

const size = 30_000;
/** In one segment, and of unknown length: it is handed on as a body that comes piece by piece, and has come whole. */
const whole = `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${size.toString(16)}\r\n${'x'.repeat(size)}\r\n0\r\n\r\n`;

interface Lab {
  readonly engine: TestEngine;
  ask(path: string): Promise<string>;
  /** Resolves with the endpoint's side of the one connection when the next request has come on it. */
  untilNext(): Promise<Socket>;
}

/** One endpoint and one connection to it: `/whole` is answered at once, anything else when the test does it. */
async function start(context: TestContext, options: TestEngineOptions): Promise<Lab> {
  let connections = 0;
  let arrived!: (socket: Socket) => void;
  const next = new Promise<Socket>((resolve) => (arrived = resolve));
  const origin = await tcpOrigin((socket) => {
    connections++;
    socket.on('error', () => {});
    socket.on('data', (data) => {
      if (data.toString().startsWith('GET /whole')) socket.write(whole);
      else arrived(socket);
    });
  });
  const engine = await startEngine([origin.address], { upstream: { maxConnections: 1 }, ...options });
  context.after(async () => {
    await engine.close();
    await origin.close();
    assert.equal(connections, 1);
  });
  const ask = async (path: string): Promise<string> => {
    const response = await fetch(`http://127.0.0.1:${engine.port}${path}`);
    return `${response.status} ${await response.text()}`;
  };
  return { engine, ask, untilNext: () => next };
}

const answer = (socket: Socket): boolean => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');

describe('an answer that has come whole, when its connection carries the next request', () => {
  const ends: readonly (readonly [name: string, end: (body: Body) => void])[] = [
    ['is cancelled', (body) => body.cancel(new Error('nobody wants it'))],
    ['is discarded as too long to be read', (body) => new Discard(systemClock).discard(body)],
  ];
  for (const [name, end] of ends) {
    test(`${name}: the next request has its own answer`, async (context) => {
      const layer: Layer = (next) => async (request, exchange) => {
        const response = await next(request, exchange);
        if (request.path !== '/whole') return response;
        assert.equal(response.body.whole, undefined);
        await lab.untilNext();
        end(response.body);
        return { status: 200, headers: Headers.of({}), body: emptyBody };
      };
      const lab = await start(context, { layer });
      const [first, second] = [lab.ask('/whole'), lab.ask('/next')];
      assert.equal(await first, '200 ');
      answer(await lab.untilNext());
      assert.equal(await second, '200 ok');
    });
  }

  test('is left by a client of HTTP/2 that has taken a little of it: the next request has its own answer', async (context) => {
    const lab = await start(context, { listen: { http2: 'engine' } });
    const client = connect(`http://127.0.0.1:${lab.engine.port}`, { settings: { initialWindowSize: 1_024 } });
    const stream = client.request({ ':path': '/whole', ':authority': 'shop' });
    stream.pause();
    await once(stream, 'response');
    const second = lab.ask('/next');
    const endpoint = await lab.untilNext();
    stream.close(constants.NGHTTP2_CANCEL);
    const [left] = await lab.engine.untilFinished(1);
    assert.equal(left!.errorCode, 'client_closed');
    answer(endpoint);
    assert.equal(await second, '200 ok');
    client.destroy();
  });
});
