import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Exchange } from './exchange.js';

test('whoever asks to hear of the end of an exchange hears of it once, also when it asks too late', () => {
  const over = new Exchange('test', '192.0.2.1', 0);
  const heard: string[] = [];
  for (let index = 0; index < 6; index++) over.onFinish(() => heard.push(`before ${index}`));
  over.onFinish(() => over.onFinish(() => heard.push('within')));
  assert.equal(heard.length, 0);
  over.finish(1);
  over.finish(2);
  over.onFinish(({ finishedAt }) => heard.push(`after ${finishedAt}`));
  assert.deepEqual(heard, [...Array.from({ length: 6 }, (_, index) => `before ${index}`), 'within', 'after 1']);
});
