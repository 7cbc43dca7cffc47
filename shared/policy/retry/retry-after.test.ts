import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseRetryAfter } from './retry-after.js';

const now = Date.UTC(1994, 10, 6, 8, 49, 30);

for (const [field, expected] of [
  ['7', 7_000],
  ['0', 0],
  ['Sun, 06 Nov 1994 08:49:37 GMT', 7_000],
  ['Sunday, 06-Nov-94 08:49:37 GMT', 7_000],
  ['Sun Nov  6 08:49:37 1994', 7_000],
  ['Sun, 06 Nov 1994 08:49:00 GMT', 0],
  ['Sun, 99 Nov 1994 08:49:37 GMT', undefined],
  ['-1', undefined],
  ['1.5', undefined],
  ['9999999999', undefined],
  ['tomorrow', undefined],
  [undefined, undefined],
] as const) {
  test(`Retry-After: ${field ?? '(none)'} is ${expected ?? 'nothing'}`, () => assert.equal(parseRetryAfter(field, now), expected));
}
