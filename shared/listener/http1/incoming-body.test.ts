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
    body.stream.source.pause();
    now += options.pausedSeconds * 1_000;
    body.stream.source.resume();
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

test('a rate of 0 lets any body through', () => {
  let now = 0;
  const body = new IncomingBody({ kind: 'chunked' }, { ...limitsSchema.parse({}), minBodyRate: 0 }, () => now, socket);
  body.stream.pipe(sink);
  now = 1e6;
  assert.doesNotThrow(() => body.read(Buffer.from('1\r\na\r\n'), 0, now));
});
