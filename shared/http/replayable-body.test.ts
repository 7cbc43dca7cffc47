import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamBody, type BodySink } from './body.js';
import { ReplayableBody } from './replayable-body.js';

test('the rest of a body that is too long to be kept is never sent as the whole of it', () => {
  const source = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} });
  const body = new ReplayableBody(source, 4);
  const sink = (seen: string[]): BodySink => ({ chunk: (data) => seen.push(data.toString()) > 0, end: () => seen.push('end'), fail: () => seen.push('fail') });
  const [first, second]: [string[], string[]] = [[], []];
  body.forAttempt().pipe(sink(first));
  source.push(Buffer.from('more than four'));
  assert.equal(body.canReplay, false);
  body.forAttempt().pipe(sink(second));
  source.push(Buffer.from(' and the rest'));
  source.end();
  assert.deepEqual(second, ['fail']);
});

test('once there will be no other attempt nothing is kept, and the one that reads goes on', () => {
  const source = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} });
  const body = new ReplayableBody(source, 100);
  const seen: string[] = [];
  body.forAttempt().pipe({ chunk: (data) => seen.push(data.toString()) > 0, end: () => seen.push('end'), fail: () => seen.push('fail') });
  source.push(Buffer.from('a'));
  assert.equal(body.canReplay, true);
  body.release();
  source.push(Buffer.from('b'));
  source.end();
  assert.deepEqual([body.canReplay, seen], [false, ['a', 'b', 'end']]);
});
