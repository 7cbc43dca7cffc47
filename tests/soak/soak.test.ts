import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { randomFrom } from '../conformance/generate-case.js';
import { startEngine } from '../support/engine.js';
import { tcpOrigin } from '../support/origin.js';
import { until } from '../support/until.js';

const connections = Number(process.env['SOAK_CONNECTIONS'] ?? 100_000);
const atATime = 200;

/** What a client does with its connection before it breaks it. */
const clients: readonly ((socket: Socket) => void)[] = [
  (socket) => socket.resetAndDestroy(),
  (socket) => socket.destroy(),
  (socket) => socket.end('GET / HTTP/1.1\r\nHost: shop\r\n\r\n'),
  (socket) => socket.write('GET /half HTTP/1.1\r\nHost: sh', () => socket.resetAndDestroy()),
  (socket) => socket.write('POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\nhalf', () => socket.destroy()),
  (socket) => socket.write('POST / HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf', () => socket.resetAndDestroy()),
  (socket) => socket.write('GET / HTTP/1.1\r\nHost: shop\r\n\r\n', () => socket.resetAndDestroy()),
  (socket) => {
    socket.write('GET / HTTP/1.1\r\nHost: shop\r\n\r\n');
    socket.once('data', () => socket.resetAndDestroy());
  },
  (socket) => socket.write('GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n'),
  (socket) => socket.write('nonsense\r\n\r\n'),
  (socket) => {
    socket.write('GET / HTTP/1.1\r\nHost: shop\r\n\r\n'.repeat(5));
    socket.once('data', () => socket.destroy());
  },
  (socket) => {
    socket.write('GET /ws HTTP/1.1\r\nHost: shop\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nhello');
    socket.once('data', () => socket.destroy());
  },
];

/** What the origin does with a request. */
const origins: readonly ((socket: Socket) => void)[] = [
  (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
  (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'),
  (socket) => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'),
  (socket) => socket.end('HTTP/1.1 200 OK\r\n\r\nuntil the end'),
  (socket) => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.resetAndDestroy()),
  (socket) => socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhalf', () => socket.destroy()),
  (socket) => socket.resetAndDestroy(),
  (socket) => socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nwelcome'),
  (socket) => socket.write('nonsense\r\n\r\n'),
];

const idleHandles = (): string[] => process.getActiveResourcesInfo().filter((name) => /TCP|Timeout|Pipe(?!Wrap)/.test(name)).sort();

test(`${connections} connections that are opened and broken in every way leave no handle, socket or timer behind`, { timeout: 600_000 }, async () => {
  const before = idleHandles();
  const random = randomFrom(1);
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const origin = await tcpOrigin((socket) => socket.on('data', () => pick(origins)(socket)));
  const engine = await startEngine([origin.address], { limits: { idleTimeout: 1_000 }, upstream: { idleTimeout: 1_000, maxConnections: 10_000 } });
  let exchanges = 0;
  let opened = 0;
  let memoryEarly = 0;
  await Promise.all(
    Array.from({ length: atATime }, async () => {
      while (opened < connections) {
        if (++opened === Math.floor(connections / 4)) memoryEarly = process.memoryUsage().rss;
        await new Promise<void>((resolve) => {
          const socket = connect({ port: engine.port, host: '127.0.0.1' });
          socket.on('error', () => {});
          socket.on('data', () => {});
          socket.once('connect', () => pick(clients)(socket));
          socket.once('close', () => resolve());
          // Answers that keep the connection leave it to the client.
          socket.setTimeout(5_000, () => socket.destroy());
        });
        // The list is for tests that look at single exchanges.
        exchanges += engine.finished.splice(0).length;
      }
    }),
  );
  while (engine.listener.connectionCount > 0) await new Promise((resolve) => setImmediate(resolve));
  exchanges += engine.finished.length;
  assert.ok(exchanges > connections / 2, `${exchanges} exchanges`);
  const { pool } = engine.upstream.endpoints[0]!;
  while (pool.active > 0 || pool.pending > 0) await new Promise((resolve) => setImmediate(resolve));
  await engine.close();
  await origin.close();
  await until(() => isDeepStrictEqual(idleHandles(), before));
  assert.deepEqual(idleHandles(), before);
  assert.equal(pool.size, 0);
  const grown = process.memoryUsage().rss - memoryEarly;
  assert.ok(grown < 64 * 2 ** 20, `resident memory grew by ${(grown / 2 ** 20).toFixed(0)} MiB over three quarters of the connections`);
});
