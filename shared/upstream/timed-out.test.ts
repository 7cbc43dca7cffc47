import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, createServer as createHttp2Server, type IncomingHttpHeaders } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { tcpOrigin, type Origin } from '../../tests/support/origin.js';
import { exchangeRaw, RawClient } from '../../tests/support/raw-client.js';
import { delay, systemClock } from '../clock/clock.js';
import type { UpstreamConfig } from '../config/sections.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { Layer } from '../http/service.js';
import { attemptTimeout } from '../policy/attempt-timeout/attempt-timeout.js';
import { deadline } from '../policy/deadline/deadline.js';

const timeoutMs = 300;

/** What the endpoint's watchers see of a request whose time is up: its code, and whether the endpoint is to blame. */
async function failure(origin: Origin, ask: string | ((port: number) => Promise<string>), { upstream = {}, spentMs = 0, isOccupied = false, limited: limit = deadline(timeoutMs, { clock: systemClock }) }: { readonly upstream?: Partial<UpstreamConfig>; readonly spentMs?: number; readonly isOccupied?: boolean; readonly limited?: Layer } = {}): Promise<readonly [code: string, blamesUpstream: boolean]> {
  let tell: ((error: ProxyError) => void) | undefined;
  const told = new Promise<ProxyError>((resolve) => (tell = resolve));
  const layer: Layer = (next) => {
    const late: typeof next = async (request, exchange) => {
      await delay(systemClock, spentMs);
      return next(request, exchange);
    };
    const limited = limit(spentMs > 0 ? late : next);
    return (request, exchange) => {
      if (request.path === '/unlimited') return next(request, exchange);
      return limited(request, exchange).catch((error: unknown) => {
        tell!(error as ProxyError);
        throw error;
      });
    };
  };
  const engine = await startEngine([origin.address], { layer, upstream, listen: { http2: 'engine' } });
  const others = isOccupied ? await RawClient.connect(engine.port) : undefined;
  others?.send('GET /unlimited HTTP/1.1\r\nHost: shop\r\n\r\n');
  while (isOccupied && engine.upstream.endpoints[0]!.pool.active === 0) await new Promise((resolve) => setImmediate(resolve));
  assert.match(await (typeof ask === 'string' ? exchangeRaw(engine.port, ask) : ask(engine.port)), /^(HTTP\/1\.1 )?50[34] /);
  const { code, blamesUpstream } = await told;
  others?.close();
  await engine.close();
  return [code, blamesUpstream];
}

/** A call of gRPC whose client sends no more of it than this; returns the status of the answer. */
const stalledCall = (start: string | Buffer) => async (port: number): Promise<string> => {
  const session = connect(`http://127.0.0.1:${port}`);
  const stream = session.request({ ':method': 'POST', ':path': '/', 'content-type': 'application/grpc' }, { endStream: false });
  stream.on('error', () => {}).write(start);
  const [fields] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status'?: number }];
  session.destroy();
  return `${fields[':status']} `;
};

const get = 'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n';
const one = { maxConnections: 1, http2: { maxConcurrentStreams: 1, pingInterval: 0, pingTimeout: 5_000 } };

const protocols = {
  h1: () => tcpOrigin((socket) => void socket.resume()),
  h2: async (): Promise<Origin> => {
    const server = createHttp2Server();
    server.on('stream', (stream) => stream.on('error', () => {}));
    const sessions = new Set<{ destroy(): void }>();
    server.on('session', (session) => sessions.add(session));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    return {
      port,
      address: { host: '127.0.0.1', port },
      close: () => new Promise((resolve) => {
        server.close(() => resolve());
        for (const session of sessions) session.destroy();
      }),
    };
  },
};

test('an endpoint that takes none of a body is to blame, whole or not', async () => {
  const origin = await protocols.h2();
  const upstream = { protocol: 'h2' } as const;
  const call = stalledCall(Buffer.alloc(1_000_000));
  assert.deepEqual(await failure(origin, call, { upstream, limited: attemptTimeout(timeoutMs, { clock: systemClock }) }), ['upstream_timeout', true]);
  assert.deepEqual(await failure(origin, call, { upstream }), ['deadline_exceeded', true]);
  await origin.close();
});

for (const protocol of ['h1', 'h2'] as const) {
  describe(`an endpoint that never answers, over ${protocol}`, () => {
    let origin: Origin;
    before(async () => (origin = await protocols[protocol]()));
    after(() => origin.close());
    const upstream = { protocol };

    test('is to blame when it had all of the timeout', async () => {
      assert.deepEqual(await failure(origin, get, { upstream }), ['deadline_exceeded', true]);
    });

    test('is to blame when it had the body, too', async () => {
      assert.deepEqual(await failure(origin, 'POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\n\r\n', { upstream }), ['deadline_exceeded', true]);
    });

    test('is not to blame for the time that its caller has', async () => {
      assert.deepEqual(await failure(origin, `GET / HTTP/1.1\r\nHost: shop\r\nX-Envoy-Expected-Rq-Timeout-Ms: ${timeoutMs - 10}\r\nConnection: close\r\n\r\n`, { upstream }), ['deadline_exceeded', false]);
    });

    test('is not to blame when it was asked late', async () => {
      assert.deepEqual(await failure(origin, get, { upstream, spentMs: timeoutMs / 2 }), ['deadline_exceeded', false]);
    });

    test('is not to blame when the request was still in line', async () => {
      assert.deepEqual(await failure(origin, get, { upstream: { ...upstream, ...one }, isOccupied: true }), ['deadline_exceeded', false]);
    });

    test('is to blame for an attempt that had all of attemptTimeout, and not for one that was still in line, which may be tried elsewhere', async () => {
      const limited = attemptTimeout(timeoutMs, { clock: systemClock });
      assert.deepEqual(await failure(origin, get, { upstream, limited }), ['upstream_timeout', true]);
      assert.deepEqual(await failure(origin, get, { upstream: { ...upstream, ...one }, isOccupied: true, limited }), ['upstream_queue_full', false]);
    });

    test('is not to blame while it has not been sent the body', async () => {
      const post = 'POST / HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n';
      assert.deepEqual(await failure(origin, post, { upstream }), ['deadline_exceeded', false]);
      assert.deepEqual(await failure(origin, post, { upstream, limited: attemptTimeout(timeoutMs, { clock: systemClock }) }), ['upstream_timeout', false]);
    });

    test('is not to blame for a call of gRPC whose client does not go on', async () => {
      assert.deepEqual(await failure(origin, stalledCall('x'), { upstream }), ['deadline_exceeded', false]);
      assert.deepEqual(await failure(origin, stalledCall('x'), { upstream, limited: attemptTimeout(timeoutMs, { clock: systemClock }) }), ['upstream_timeout', false]);
    });
  });
}
