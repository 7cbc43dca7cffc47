import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BoundedMemo } from './bounded-memo.js';
import { fieldName } from './field-names.js';

test('a memo keeps so many strings, and starts anew with the next', () => {
  const memo = new BoundedMemo<number>({ maxEntries: 2, maxLength: 3 });
  memo.set('a', 1);
  memo.set('b', 2);
  assert.deepEqual(['a', 'b', 'c'].map((key) => memo.get(key)), [1, 2, undefined]);
  memo.set('c', 3);
  assert.deepEqual(['a', 'b', 'c'].map((key) => memo.get(key)), [undefined, undefined, 3]);
  memo.set('long', 4);
  assert.deepEqual([memo.get('long'), memo.get('c')], [undefined, 3]);
});

test('field names that somebody invents do not slow others down for ever', () => {
  for (let index = 0; index < 2_000; index++) fieldName(`X-Invented-${index}`);
  const late = fieldName('X-Late');
  assert.equal(late!.lower, 'x-late');
  assert.equal(fieldName('X-Late'), late, 'the very same, from memory');
});
