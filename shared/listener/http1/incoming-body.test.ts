import assert from 'node:assert/strict';
import { test } from 'node:test';
import { limitsSchema } from '../../config/sections.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { IncomingBody } from './incoming-body.js';

const sink = { chunk: () => true, end: () => {}, fail: () => {} };
const socket = { pause: () => {}, resume: () => {} };

/** Sends `bytesPerSecond` for `seconds`, a chunk a second. */
function drip(bytesPerSecond: number, seconds: number, options: { pausedSeconds?: number } = {}): void {
  let now = 0;
  const body = new IncomingBody({ kind: 'length', length: 1e9 }, limitsSchema.parse({}), () => now, socket);
  body.stream.pipe(sink);
  if (options.pausedSeconds !== undefined) {
    body.stream.source.pause(body.stream);
    now += options.pausedSeconds * 1_000;
    body.stream.source.resume(body.stream);
  }
  for (let second = 0; second < seconds; second++) {
    now += 1_000;
    body.read(Buffer.alloc(bytesPerSecond), 0, now);
  }
}

test('a body below the minimum rate is refused once it had its grace', () => {
  assert.throws(() => drip(100, 60), (error) => error instanceof ProxyError && error.code === 'request_timeout');
  assert.doesNotThrow(() => drip(100, 5));
  assert.doesNotThrow(() => drip(250, 600));
});

test('time in which the client was made to wait does not count', () => {
  assert.doesNotThrow(() => drip(250, 600, { pausedSeconds: 3_600 }));
});

/** A body of two bytes, on a clock that the test turns. */
function open(options: { readonly isHeldBack?: boolean } = {}) {
  const clock = { now: 1_000 };
  const body = new IncomingBody({ kind: 'length', length: 2 }, limitsSchema.parse({}), () => clock.now, socket, options.isHeldBack);
  body.stream.pipe(sink);
  const read = (): number => body.read(Buffer.from('x'), 0, clock.now);
  return { clock, body, read, awaited: (): number => body.stream.arrival!.awaitedMs(clock.now) };
}

test('the client is awaited until the body is whole', () => {
  const { clock, body, read, awaited } = open();
  clock.now += 300;
  read();
  clock.now += 200;
  assert.deepEqual([awaited(), body.isComplete], [500, false]);
  read();
  clock.now += 5_000;
  assert.deepEqual([awaited(), body.isComplete], [500, true]);
});

test('the client is not awaited while it is made to wait', () => {
  const { clock, body, read, awaited } = open();
  clock.now += 300;
  body.stream.source.pause(body.stream);
  clock.now += 1_000;
  assert.equal(awaited(), 300);
  body.stream.source.resume(body.stream);
  clock.now += 50;
  body.stream.source.pause(body.stream);
  read();
  clock.now += 1_000;
  read();
  body.stream.source.resume(body.stream);
  clock.now += 1_000;
  assert.equal(awaited(), 350);
});

test('a client that waits to be asked for its body is awaited from then, or from its first byte', () => {
  for (const act of ['ask', 'read'] as const) {
    const { clock, body, read, awaited } = open({ isHeldBack: true });
    clock.now += 9_000;
    assert.equal(awaited(), 0);
    if (act === 'ask') body.ask(clock.now);
    else read();
    clock.now += 100;
    assert.equal(awaited(), 100);
  }
});

test('a rate of 0 lets any body through', () => {
  let now = 0;
  const body = new IncomingBody({ kind: 'chunked' }, { ...limitsSchema.parse({}), minBodyRate: 0 }, () => now, socket);
  body.stream.pipe(sink);
  now = 1e6;
  assert.doesNotThrow(() => body.read(Buffer.from('1\r\na\r\n'), 0, now));
});
