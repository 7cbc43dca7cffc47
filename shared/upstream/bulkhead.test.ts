import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { Server, ServerResponse } from 'node:http';
import { createServer as createHttp2Server, type Http2ServerResponse } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { describe, test } from 'node:test';
import { startEngine, type TestEngine } from '../../tests/support/engine.js';
import { allowing, answer, frameOrigin, type FrameOrigin } from '../../tests/support/frame-origin.js';
import { httpOrigin, type Origin } from '../../tests/support/origin.js';
import { RawClient } from '../../tests/support/raw-client.js';
import { FakeClock } from '../clock/fake-clock.js';
import { balanceSchema } from '../config/balance.js';
import { bulkheadSchema } from '../config/health.js';
import { upstreamSchema, type UpstreamConfig } from '../config/sections.js';
import type { Layer } from '../http/service.js';
import { attemptTimeout } from '../policy/attempt-timeout/attempt-timeout.js';
import { Bulkhead, type BulkheadLimit } from './bulkhead.js';
import type { EndpointPool } from './endpoint-pool.js';

/** An origin that holds each request until the test answers it, and counts its connections. */
class HoldingOrigin {
  readonly held: ServerResponse[] = [];
  connections = 0;
  most = 0;
  #wake: (() => void) | undefined;
  origin!: Origin;

  static async start(): Promise<HoldingOrigin> {
    const holding = new HoldingOrigin();
    const origin = await httpOrigin((_request, response) => {
      holding.held.push(response);
      holding.#wake?.();
    });
    origin.server.on('connection', (socket) => {
      holding.most = Math.max(holding.most, ++holding.connections);
      socket.on('close', () => holding.connections--);
    });
    holding.origin = origin;
    return holding;
  }

  async untilHeld(count: number): Promise<void> {
    while (this.held.length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  answer(body = 'ok'): void {
    this.held.shift()!.end(body);
  }
}

interface Run {
  readonly engine: TestEngine;
  readonly bulkhead: Bulkhead;
  readonly refusals: BulkheadLimit[];
  readonly origins: HoldingOrigin[];
  readonly guards: ReturnType<Bulkhead['guard']>[];
  /** Sends a request; resolves with its status and body. */
  readonly ask: () => Promise<string>;
  readonly close: () => Promise<void>;
}

async function start(config: object, { origins: count = 1, maxConnections = 1_024, layer }: { readonly origins?: number; readonly maxConnections?: number; readonly layer?: Layer } = {}): Promise<Run> {
  const origins = await Promise.all(Array.from({ length: count }, () => HoldingOrigin.start()));
  const refusals: BulkheadLimit[] = [];
  const bulkhead = new Bulkhead('test', bulkheadSchema.parse(config), (limit) => refusals.push(limit));
  const engine = await startEngine(origins.map(({ origin }) => origin.address), { upstream: { balance: balanceSchema.parse({ algorithm: 'round-robin' }), maxConnections }, ...(layer && { layer }) });
  const guards = engine.upstream.endpoints.map((endpoint) => {
    const guard = bulkhead.guard(endpoint.pool);
    endpoint.service = guard.layer(endpoint.connect);
    return guard;
  });
  return {
    engine,
    bulkhead,
    refusals,
    origins,
    guards,
    async ask() {
      const response = await fetch(`http://127.0.0.1:${engine.port}/`);
      return `${response.status} ${await response.text()}`;
    },
    async close() {
      await engine.close();
      await Promise.all(origins.map(({ origin }) => origin.close()));
    },
  };
}

/** Requests that wait show nowhere outside; what they wait for is I/O of this process. */
async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await new Promise((resolve) => setImmediate(resolve));
}

describe('bulkhead', () => {
  test('refuses a request beyond maxRequests over all endpoints, and takes one again when another is over', async () => {
    const { ask, origins, refusals, bulkhead, close } = await start({ maxRequests: 2 }, { origins: 2 });
    const first = [ask(), ask()];
    await Promise.all(origins.map((origin) => origin.untilHeld(1)));
    assert.equal(await ask(), '503 upstream_overloaded');
    assert.deepEqual(refusals, ['requests']);
    for (const origin of origins) origin.answer();
    assert.deepEqual(await Promise.all(first), ['200 ok', '200 ok']);
    const next = ask();
    await until(() => origins.some(({ held }) => held.length > 0));
    origins.find(({ held }) => held.length > 0)!.answer('again');
    assert.equal(await next, '200 again');
    assert.equal(bulkhead.requests, 0);
    await close();
  });

  test('a request counts until the last byte of its answer', async () => {
    const { ask, origins: [origin], bulkhead, close } = await start({ maxRequests: 1 });
    const first = ask();
    await origin!.untilHeld(1);
    origin!.held[0]!.write('the beginning, ');
    await until(() => bulkhead.requests === 1);
    assert.equal(await ask(), '503 upstream_overloaded');
    origin!.answer('the end');
    assert.equal(await first, '200 the beginning, the end');
    assert.equal(bulkhead.requests, 0);
    await close();
  });

  test('at maxConnections a request waits and gets the connection that becomes free', async () => {
    const { ask, origins: [origin], bulkhead, close } = await start({ maxConnections: 2 });
    const all = Array.from({ length: 5 }, ask);
    await origin!.untilHeld(2);
    await until(() => bulkhead.pending === 3);
    assert.equal(bulkhead.connections, 2);
    for (let index = 0; index < 5; index++) {
      await origin!.untilHeld(1);
      origin!.answer();
    }
    assert.deepEqual(await Promise.all(all), Array(5).fill('200 ok'));
    assert.equal(origin!.most, 2);
    assert.deepEqual([bulkhead.requests, bulkhead.pending], [0, 0]);
    await close();
  });

  test('a connection that is idle at one endpoint makes room for one to another', async () => {
    const { ask, origins, close } = await start({ maxConnections: 1 }, { origins: 2 });
    for (let index = 0; index < 4; index++) {
      const answer = ask();
      await until(() => origins.some(({ held }) => held.length > 0));
      origins.find(({ held }) => held.length > 0)!.answer();
      assert.equal(await answer, '200 ok');
      await until(() => origins.reduce((sum, { connections }) => sum + connections, 0) <= 1);
    }
    assert.deepEqual(origins.map(({ most }) => most), [1, 1]);
    await close();
  });

  test('whoever waits for one endpoint gets the place that becomes free at another', async () => {
    const { ask, origins, bulkhead, close } = await start({ maxConnections: 1 }, { origins: 2 });
    const all = [ask(), ask(), ask(), ask()];
    await until(() => bulkhead.pending === 3);
    for (let index = 0; index < 4; index++) {
      await until(() => origins.some(({ held }) => held.length > 0));
      origins.find(({ held }) => held.length > 0)!.answer();
    }
    assert.deepEqual(await Promise.all(all), Array(4).fill('200 ok'));
    await close();
  });

  test('refuses a request beyond maxPending, in its own line and in those of the endpoints', async () => {
    for (const [limits, perEndpoint] of [[{ maxConnections: 1, maxPending: 2 }, 1_024], [{ maxPending: 2 }, 1]] as const) {
      const { ask, origins: [origin], bulkhead, refusals, close } = await start(limits, { maxConnections: perEndpoint });
      const all = [ask()];
      await origin!.untilHeld(1);
      all.push(ask(), ask());
      await until(() => bulkhead.pending === 2);
      assert.equal(await ask(), '503 upstream_overloaded');
      assert.deepEqual(refusals, ['pending']);
      for (let index = 0; index < 3; index++) {
        await origin!.untilHeld(1);
        origin!.answer();
      }
      assert.deepEqual(await Promise.all(all), Array(3).fill('200 ok'));
      await close();
    }
  });

  test('an attempt that is given up in line was refused', async () => {
    const clock = new FakeClock();
    const { ask, origins: [origin], bulkhead, close } = await start({ maxConnections: 1 }, { layer: attemptTimeout(1_000, { clock }) });
    const [first, second] = [ask(), ask()];
    await until(() => bulkhead.pending === 1);
    await origin!.untilHeld(1);
    await clock.advance(1_000);
    assert.deepEqual((await Promise.all([first, second])).sort(), ['503 upstream_queue_full', '504 upstream_timeout']);
    await close();
  });

  test('a client that leaves gives its place back, whether it waited or was being answered', async () => {
    const { ask, engine, origins: [origin], bulkhead, close } = await start({ maxConnections: 1, maxRequests: 2 });
    const served = await RawClient.connect(engine.port);
    served.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await origin!.untilHeld(1);
    const waiting = await RawClient.connect(engine.port);
    waiting.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    await until(() => bulkhead.pending === 1);
    waiting.socket.resetAndDestroy();
    await until(() => bulkhead.requests === 1 && bulkhead.pending === 0);
    origin!.held.shift()!.write('a beginning');
    await served.until((text) => text.includes('a beginning'));
    served.socket.resetAndDestroy();
    await until(() => bulkhead.requests === 0);
    const next = ask();
    await origin!.untilHeld(1);
    origin!.answer();
    assert.equal(await next, '200 ok');
    await close();
  });

  test('a connection that has switched protocols counts until it ends', async () => {
    const { ask, engine, origins: [origin], bulkhead, close } = await start({ maxRequests: 1 });
    (origin!.origin as Origin & { server: Server }).server.on('upgrade', (_request, socket) => socket.on('error', () => {}).on('end', () => socket.destroy()).resume().write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'));
    const client = await RawClient.connect(engine.port);
    client.send('GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
    await client.until((text) => text.startsWith('HTTP/1.1 101'));
    assert.equal(await ask(), '503 upstream_overloaded');
    client.socket.resetAndDestroy();
    await until(() => bulkhead.requests === 0);
    await close();
  });

  for (const [how, end] of [['closes', (client: RawClient) => client.close()], ['resets', (client: RawClient) => client.socket.resetAndDestroy()]] as const) {
    test(`whoever waits for the connection of a tunnel gets a place when its client ${how}`, async () => {
      const { ask, engine, origins: [origin], bulkhead, close } = await start({ maxConnections: 1 });
      (origin!.origin as Origin & { server: Server }).server.on('upgrade', (_request, socket) => socket.on('error', () => {}).on('end', () => socket.end()).resume().write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n'));
      const client = await RawClient.connect(engine.port);
      client.send('GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
      await client.until((text) => text.startsWith('HTTP/1.1 101'));
      const waiting = ask();
      await until(() => bulkhead.pending === 1);
      end(client);
      await origin!.untilHeld(1);
      origin!.answer();
      assert.equal(await waiting, '200 ok');
      assert.deepEqual([bulkhead.requests, bulkhead.pending], [0, 0]);
      await close();
    });
  }

  test('the connections of an endpoint that is gone count until they are closed, and who waits for it gets a turn', async () => {
    const { ask, origins, bulkhead, engine, guards, close } = await start({ maxConnections: 2 }, { origins: 2 });
    const held = (): number => origins[0]!.held.length + origins[1]!.held.length;
    const asked = Array.from({ length: 8 }, ask);
    await until(() => held() === 2 && bulkhead.pending === 6);
    engine.upstream.endpoints[0]!.close();
    guards[0]!.close();
    for (let left = 8; left > 0; left--) {
      await until(() => held() === Math.min(2, left) && bulkhead.pending === Math.max(0, left - 2));
      assert.ok(bulkhead.connections <= 2);
      origins.find((origin) => origin.held.length > 0)!.answer();
    }
    assert.deepEqual(new Set(await Promise.all(asked)), new Set(['200 ok']));
    const [gone, other] = engine.upstream.endpoints.map(({ pool }) => pool);
    await until(() => gone!.size === 0);
    assert.deepEqual([bulkhead.connections, gone!.guard], [other!.size, undefined]);
    await close();
  });

  test('an endpoint that cannot be reached gives its place back', async () => {
    const { ask, origins: [origin], bulkhead, engine, close } = await start({ maxConnections: 1, maxRequests: 1 });
    await origin!.origin.close();
    for (let index = 0; index < 3; index++) assert.equal(await ask(), '503 upstream_connect_failed');
    assert.deepEqual([bulkhead.requests, bulkhead.connections], [0, 0]);
    await engine.close();
    await close().catch(() => {});
  });

  test('caps retries at a time', () => {
    const refusals: BulkheadLimit[] = [];
    const bulkhead = new Bulkhead('test', bulkheadSchema.parse({ maxRetries: 2 }), (limit) => refusals.push(limit));
    assert.deepEqual([1, 2, 3].map(() => bulkhead.enterRetry()), [true, true, false]);
    bulkhead.leaveRetry();
    assert.equal(bulkhead.enterRetry(), true);
    assert.deepEqual(refusals, ['retries']);
    assert.equal(new Bulkhead('none', bulkheadSchema.parse({ maxRetries: 0 })).enterRetry(), false);
    assert.equal(new Bulkhead('any', bulkheadSchema.parse({})).enterRetry(), true);
  });
});

interface Http2Run {
  readonly bulkhead: Bulkhead;
  readonly pools: readonly EndpointPool[];
  /** Sends so many requests at once; resolves with their statuses. */
  readonly ask: (count: number) => Promise<number[]>;
}

async function playHttp2(origins: readonly Origin[], limits: object, changes: object, run: (run: Http2Run) => Promise<void>): Promise<void> {
  const config: Partial<UpstreamConfig> = upstreamSchema.parse({ protocol: 'h2', balance: { algorithm: 'round-robin' }, ...changes });
  delete config.endpoints;
  const engine = await startEngine(origins.map(({ address }) => address), { upstream: config });
  const bulkhead = new Bulkhead('test', bulkheadSchema.parse(limits));
  for (const endpoint of engine.upstream.endpoints) endpoint.service = bulkhead.guard(endpoint.pool).layer(endpoint.connect);
  const ask = (count: number): Promise<number[]> => Promise.all(Array.from({ length: count }, () => fetch(`http://127.0.0.1:${engine.port}/`).then(({ status }) => status)));
  try {
    await run({ bulkhead, pools: engine.upstream.endpoints.map(({ pool }) => pool), ask });
    assert.deepEqual([bulkhead.pending, bulkhead.requests], [0, 0]);
  } finally {
    await engine.close();
    await Promise.all(origins.map((origin) => origin.close()));
  }
}

describe('bulkhead in front of HTTP/2', () => {
  test('requests that one connection carries need no more than that, also while it is made', async () => {
    const held: Http2ServerResponse[] = [];
    let sessions = 0;
    const server = createHttp2Server((_request, response) => held.push(response)).on('session', () => sessions++);
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const config: Partial<UpstreamConfig> = upstreamSchema.parse({ protocol: 'h2' });
    delete config.endpoints;
    const engine = await startEngine([{ host: '127.0.0.1', port: (server.address() as AddressInfo).port }], { upstream: config });
    const bulkhead = new Bulkhead('test', bulkheadSchema.parse({ maxConnections: 1, maxPending: 0 }));
    const [endpoint] = engine.upstream.endpoints;
    endpoint!.service = bulkhead.guard(endpoint!.pool).layer(endpoint!.connect);
    const answers = Array.from({ length: 5 }, () => fetch(`http://127.0.0.1:${engine.port}/`).then(({ status }) => status));
    await until(() => held.length + engine.finished.length === 5);
    assert.deepEqual([held.length, sessions, bulkhead.connections, bulkhead.pending], [5, 1, 1, 0]);
    for (const response of held) response.end('ok');
    assert.deepEqual(await Promise.all(answers), Array(5).fill(200));
    assert.deepEqual([endpoint!.pool.closeOldestIdle(), endpoint!.pool.closeOldestIdle()], [true, false], 'an idle connection makes room once');
    await engine.close();
    server.close();
  });

  test('requests that one connection carries one after the other all get their turn', async () => {
    const origin = await frameOrigin((peer, stream) => peer.send(answer(stream)));
    await playHttp2([origin], { maxConnections: 1 }, { http2: { maxConcurrentStreams: 1 } }, async ({ ask }) => {
      assert.deepEqual([await ask(6), origin.peers.length], [Array(6).fill(200), 1]);
    });
  });

  for (const maxConnections of [1, 3]) {
    test(`an endpoint that allows less than expected gets no more than ${maxConnections} of ${maxConnections} connections`, async () => {
      const origin = await frameOrigin((peer, stream) => setImmediate(() => peer.send(answer(stream))), (connection) => (connection === 1 ? [] : [allowing(1)]));
      await playHttp2([origin], { maxConnections }, {}, async ({ ask, bulkhead, pools }) => {
        const all = ask(12);
        await until(() => origin.peers.length === 1 && pools[0]!.pending === 12);
        origin.peers[0]!.send(allowing(1));
        assert.deepEqual(await all, Array(12).fill(200));
        assert.deepEqual([origin.peers.length, bulkhead.connections], [maxConnections, maxConnections]);
      });
    });
  }

  test('requests that wait at one endpoint get the connection that becomes free at another', async () => {
    const held: (() => void)[] = [];
    const hold = (): Promise<FrameOrigin> => frameOrigin((peer, stream) => held.push(() => peer.send(answer(stream))), [allowing(1)]);
    const origins = await Promise.all([hold(), hold()]);
    await playHttp2(origins, { maxConnections: 2 }, {}, async ({ ask, bulkhead }) => {
      const all = ask(6);
      for (let count = 0; count < 6; count++) {
        await until(() => held.length > 0);
        assert.ok(bulkhead.connections <= 2);
        held.shift()!();
      }
      assert.deepEqual(await all, Array(6).fill(200));
    });
  });

  test('a connection that makes room counts no more, also where the endpoint does not close its side', async () => {
    const hold = (): Promise<FrameOrigin> => frameOrigin((peer, stream) => peer.send(answer(stream)), undefined, { allowHalfOpen: true });
    await playHttp2(await Promise.all([hold(), hold()]), { maxConnections: 1 }, {}, async ({ ask, bulkhead, pools }) => {
      for (let count = 0; count < 4; count++) {
        assert.deepEqual(await ask(1), [200]);
        await until(() => pools.every(({ active }) => active === 0));
        assert.equal(bulkhead.connections, 1);
      }
    });
  });
});
