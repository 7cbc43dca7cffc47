import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamBody, type BodySink } from '../../http/body.js';
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
