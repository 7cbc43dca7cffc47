import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compare } from './differential.js';

test('20,000 generated requests are refused, or read, as node:http does it', async () => {
  const { differences, ...counts } = await compare(1, 20_000);
  assert.deepEqual(differences.slice(0, 10), []);
  // The generator is of use only while it comes down on both sides of the border.
  assert.ok(counts.acceptedByBoth > 5_000 && counts.refusedByBoth > 2_000, JSON.stringify(counts));
});
