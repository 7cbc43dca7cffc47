import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oneAtATime } from './one-at-a-time.js';

test('what is called while it runs is done once more, afterwards', async () => {
  const ends: (() => void)[] = [];
  const call = oneAtATime(() => new Promise<void>((resolve) => ends.push(resolve)));
  const done = call();
  await Promise.all([call(), call(), call()]);
  assert.equal(ends.length, 1);
  ends[0]!();
  await Promise.resolve();
  await call();
  assert.equal(ends.length, 2);
  ends[1]!();
  await Promise.resolve();
  assert.equal(ends.length, 3);
  ends[2]!();
  await done;
  void call();
  assert.equal(ends.length, 4);
});

test('and what failed is done again when it is called again', async () => {
  let calls = 0;
  const call = oneAtATime(() => Promise.reject(new Error(String(++calls))));
  await assert.rejects(call(), /^Error: 1$/);
  await assert.rejects(call(), /^Error: 2$/);
});
