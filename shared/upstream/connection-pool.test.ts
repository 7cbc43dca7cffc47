import assert from 'node:assert/strict';
import { test } from 'node:test';
import { startEngine } from '../../tests/support/engine.js';
import { tcpOrigin, type Origin } from '../../tests/support/origin.js';
import { exchangeRaw } from '../../tests/support/raw-client.js';
import { systemClock } from '../clock/clock.js';
import { DeadlineSweep } from '../clock/deadline-sweep.js';
import { upstreamSchema, type UpstreamConfig } from '../config/sections.js';
import { Cancellation } from '../http/cancellation.js';
import { ConnectionPool } from './connection-pool.js';

/** A pool of connections to an origin; `close` closes both. */
function open(origin: Origin, settings: Partial<UpstreamConfig> = {}): { readonly pool: ConnectionPool; readonly close: () => Promise<void> } {
  const sweep = new DeadlineSweep(systemClock, [1_000]);
  const pool = new ConnectionPool(origin.address, { ...upstreamSchema.parse({}), ...settings }, { clock: systemClock, sweep });
  const close = async (): Promise<void> => {
    pool.destroy();
    sweep.close();
    await origin.close();
  };
  return { pool, close };
}

test('a request that leaves while a connection is made for it leaves the place to the next', async () => {
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin, { maxConnections: 1 });
  const first = await pool.acquire(new Cancellation());
  const leaving = new Cancellation();
  const left = pool.acquire(leaving);
  const next = pool.acquire(new Cancellation());
  // The one that waits longest gets a connection of its own.
  first.close();
  leaving.cancel(new Error('gone'));
  await assert.rejects(left, /gone/);
  const connection = await next;
  assert.deepEqual([connection.isUsable, pool.size, pool.pending], [true, 1, 0]);
  pool.destroy();
  assert.equal(pool.size, 0);
  await close();
});

test('a place that is freed by a request’s leaving is not given to that request, which waits for it too', async () => {
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin, { maxConnections: 1 });
  const first = await pool.acquire(new Cancellation());
  // As a retry waits while the rest of the answer before it is read: it has the connection, and stands in line for it.
  const leaving = new Cancellation();
  leaving.subscribe(first);
  const left = pool.acquire(leaving);
  const next = pool.acquire(new Cancellation());
  leaving.cancel(new Error('gone'));
  await assert.rejects(left, /gone/);
  const connection = await next;
  assert.deepEqual([connection.isUsable, pool.size, pool.pending], [true, 1, 0]);
  await close();
});

test('no connection is made for a request that has left already', async () => {
  let connections = 0;
  const origin = await tcpOrigin(() => connections++);
  const { pool, close } = open(origin);
  const cancellation = new Cancellation();
  cancellation.cancel(new Error('gone'));
  await assert.rejects(pool.acquire(cancellation), /gone/);
  // Whatever was begun for it would have arrived before this one.
  await pool.acquire(new Cancellation());
  assert.deepEqual([pool.size, pool.pending, connections], [1, 0, 1]);
  await close();
});

test('requests that waited in line are sent again when the connection they got had been closed by then', async () => {
  let connections = 0;
  // Closes behind each answer without a word.
  const origin = await tcpOrigin((socket) => {
    connections++;
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  });
  const engine = await startEngine([origin.address], { upstream: { maxConnections: 1 } });
  const answers = await Promise.all(Array.from({ length: 12 }, () => exchangeRaw(engine.port, 'GET / HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n')));
  assert.deepEqual(answers.map((text) => text.slice(9, 12)), Array(12).fill('200'));
  assert.equal(connections, 12);
  assert.ok(engine.finished.every(({ attempts }) => attempts === 1));
  await engine.close();
  await origin.close();
});
