import assert from 'node:assert/strict';
import { test } from 'node:test';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import { startEngine } from '../../tests/support/engine.js';
import { tcpOrigin, type Origin } from '../../tests/support/origin.js';
import { exchange, request } from '../../tests/support/policy.js';
import { exchangeRaw } from '../../tests/support/raw-client.js';
import { systemClock, type Clock } from '../clock/clock.js';
import { DeadlineSweep } from '../clock/deadline-sweep.js';
import { FakeClock, settle } from '../clock/fake-clock.js';
import { upstreamSchema, type UpstreamConfig } from '../config/sections.js';
import { ProxyError } from '../errors/proxy-error.js';
import { Cancellation } from '../http/cancellation.js';
import type { HttpResponse } from '../http/message.js';
import type { TlsClient } from '../tls/client-credentials.js';
import { Attempt } from './attempt.js';
import { ConnectionPool } from './connection-pool.js';

/** A pool of connections to an origin; `close` closes both. */
function open(origin: Origin, settings: Partial<UpstreamConfig> = {}, clock: Clock = systemClock, credentials?: TlsClient): { readonly pool: ConnectionPool; readonly close: () => Promise<void> } {
  const sweep = new DeadlineSweep(clock, [1_000]);
  const pool = new ConnectionPool(origin.address, { ...upstreamSchema.parse({}), ...settings }, { clock, sweep, credentials });
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

test('a request goes out on a connection that others have done with, if that is there before its own, which stays for the next', async () => {
  let connections = 0;
  const origin = await tcpOrigin(() => connections++);
  const { pool, close } = open(origin);
  const first = await pool.acquire(new Cancellation());
  const waiting = pool.acquire(new Cancellation());
  assert.deepEqual([pool.connections, pool.pending, pool.queued, pool.hasIdle], [2, 1, 0, false]);
  pool.giveBack(first, systemClock.now());
  assert.equal(await waiting, first);
  // One is on its way that nobody counts on: the next waits for it, and none is made for that.
  assert.deepEqual([pool.pending, pool.hasIdle], [0, true]);
  const next = await pool.acquire(new Cancellation());
  assert.notEqual(next, first);
  assert.deepEqual([pool.size, pool.connections, connections], [2, 2, 2]);
  await close();
});

test('a connection that is made for a request which leaves is given up, unless somebody counts on it', async () => {
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin);
  const [leaving, staying] = [new Cancellation(), new Cancellation()];
  const left = pool.acquire(leaving);
  const stays = pool.acquire(staying);
  assert.equal(pool.connections, 2);
  leaving.cancel(new Error('gone'));
  await assert.rejects(left, /gone/);
  assert.deepEqual([pool.connections, pool.pending], [1, 1]);
  assert.equal((await stays).isUsable, true);
  assert.deepEqual([pool.size, pool.connections], [1, 1]);
  await close();
});

test('a connection that cannot be made fails the one who counted on it; who is in line gets one that works', async () => {
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin, { maxConnections: 2 });
  const first = await pool.acquire(new Cancellation());
  origin.stopListening();
  const failing = pool.acquire(new Cancellation());
  const inLine = pool.acquire(new Cancellation());
  assert.deepEqual([pool.pending, pool.queued], [2, 1]);
  await assert.rejects(failing, { code: 'upstream_connect_failed' });
  await settle();
  assert.deepEqual([pool.pending, pool.connections], [1, 1]);
  pool.giveBack(first, systemClock.now());
  assert.equal(await inLine, first);
  await close();
});

test('for who is in line behind a connection that could not be made another is tried after a pause, and at once when none is left', async () => {
  const clock = new FakeClock();
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin, { maxConnections: 2 }, clock);
  const busy = await pool.acquire(new Cancellation());
  origin.stopListening();
  const outcome = (): Promise<unknown> => pool.acquire(new Cancellation()).then(() => 'a connection', (error: unknown) => (error as ProxyError).code);
  const [failing, inLine, last] = [outcome(), outcome(), outcome()];
  assert.equal(await failing, 'upstream_connect_failed');
  await clock.advance(24);
  assert.deepEqual([pool.pending, pool.connections], [2, 1]);
  await clock.advance(1);
  assert.equal(await inLine, 'upstream_connect_failed');
  assert.deepEqual([pool.pending, pool.connections], [1, 1]);
  // Nothing works any more: there is nothing to wait for.
  busy.close();
  assert.equal(await last, 'upstream_connect_failed');
  await close();
});

test('whoever has waited longest fails with the connection that was begun first, though others come and leave', async () => {
  const clock = new FakeClock();
  const origin = await tcpOrigin(() => {});
  // TLS that is never answered.
  const credentials = { version: 0, connect: (options: ConnectionOptions) => connectTls({ ...options, rejectUnauthorized: false }) };
  const { pool, close } = open(origin, { connectTimeout: 300 }, clock, credentials);
  const ended: string[] = [];
  const ask = (name: string, cancellation = new Cancellation()): void => void pool.acquire(cancellation).then(() => ended.push(`${name}: served`), (error: unknown) => ended.push(`${name}: ${(error as ProxyError).code}`));
  ask('patient');
  await clock.advance(200);
  const leaving = new Cancellation();
  ask('leaving', leaving);
  ask('later');
  assert.equal(pool.connections, 3);
  leaving.cancel(new ProxyError('client_closed'));
  await clock.advance(150);
  assert.deepEqual([ended, pool.connections], [['leaving: client_closed', 'patient: upstream_connect_failed'], 1]);
  await clock.advance(200);
  assert.deepEqual([ended.at(-1), pool.pending, pool.connections], ['later: upstream_connect_failed', 0, 0]);
  await close();
});

test('who was held back is seen to as soon as a connection can be made again', async () => {
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin, { maxConnections: 3 }, new FakeClock());
  await pool.acquire(new Cancellation());
  origin.stopListening();
  const failing = [pool.acquire(new Cancellation()), pool.acquire(new Cancellation())];
  const inLine = pool.acquire(new Cancellation());
  await Promise.allSettled(failing);
  assert.deepEqual([pool.queued, pool.connections], [1, 1]);
  await origin.listenAgain();
  const next = pool.acquire(new Cancellation());
  assert.notEqual(await inLine, await next);
  assert.deepEqual([pool.pending, pool.size], [0, 3]);
  await close();
});

test('after a pause connections are made one at a time, and only as the limits of the upstream allow', async () => {
  const clock = new FakeClock();
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin, { maxConnections: 3 }, clock);
  let asked = 0;
  let isFull = true;
  pool.guard = { mayConnect: () => (asked++, !isFull), freed: () => {} };
  await pool.acquire(new Cancellation());
  origin.stopListening();
  const all = Array.from({ length: 5 }, () => pool.acquire(new Cancellation()));
  await Promise.allSettled(all.slice(0, 2));
  await clock.advance(25);
  assert.deepEqual([asked, pool.queued, pool.connections], [1, 3, 1]);
  isFull = false;
  await origin.listenAgain();
  pool.serveWaiting();
  assert.deepEqual([pool.queued, pool.connections], [2, 2]);
  await Promise.all(all.slice(2, 4));
  assert.deepEqual([pool.queued, pool.size], [1, 3]);
  void all[4]!.catch(() => {});
  await close();
});

test('a connection that is being made and that nobody counts on leaves its place to one that is needed elsewhere', async () => {
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin);
  const first = await pool.acquire(new Cancellation());
  const waiting = pool.acquire(new Cancellation());
  assert.equal(pool.closeOldestIdle(), false);
  pool.giveBack(first, systemClock.now());
  await waiting;
  assert.deepEqual([pool.connections, pool.closeOldestIdle(), pool.connections], [2, true, 1]);
  await close();
});

test('a pool that is closed serves whoever waits, and keeps nothing', async () => {
  const origin = await tcpOrigin(() => {});
  const { pool, close } = open(origin);
  const waiting = pool.acquire(new Cancellation());
  pool.close();
  const connection = await waiting;
  assert.equal(connection.isUsable, true);
  pool.giveBack(connection, systemClock.now());
  assert.deepEqual([pool.size, pool.connections], [0, 0]);
  await close();
});

/** What an endpoint says with its first answer, and for how long (ms) its connection is kept unused then. */
const kept: readonly (readonly [says: string, keptMs: number, settings?: Partial<UpstreamConfig>])[] = [
  ['', 4_000],
  ['Keep-Alive: timeout=30, max=100', 29_000],
  ['Keep-Alive: max=5; Timeout=2', 1_000],
  ['Keep-Alive: timeout=1', 500],
  ['Keep-Alive: timeout=0', 0],
  ['Keep-Alive: timeout=9,timeout=3\r\nKeep-Alive: timeout=5', 2_000],
  ['Keep-Alive: timeout=86400', 60_000],
  ['Keep-Alive: timeout=86400', 90_000, { idleTimeout: 90_000 }],
  ['Keep-Alive: timeout=86400', 7_000, { maxIdleTimeout: 7_000 }],
  ['Keep-Alive: timeout=-3, xtimeout=9, timeout=9999999999', 4_000],
];
for (const [says, keptMs, settings] of kept) {
  test(`an unused connection is kept ${keptMs} ms where its endpoint says "${says}" and the configuration ${JSON.stringify(settings ?? {})}`, async () => {
    const clock = new FakeClock();
    const origin = await tcpOrigin((socket) => socket.on('data', () => socket.write(`HTTP/1.1 200 OK\r\n${says === '' ? '' : `${says}\r\n`}Content-Length: 0\r\n\r\n`)));
    const { pool, close } = open(origin, settings, clock);
    const over = exchange();
    const response = await new Promise<HttpResponse>((resolve, reject) => new Attempt(pool, request(over), over, resolve, reject).start());
    assert.deepEqual([response.status, response.headers.get('keep-alive')], [200, undefined]);
    await clock.advance(Math.max(0, keptMs - 1));
    assert.equal(pool.size, keptMs > 0 ? 1 : 0);
    // Whoever looks after them does so in steps.
    await clock.advance(500);
    assert.equal(pool.size, 0);
    await close();
  });
}
