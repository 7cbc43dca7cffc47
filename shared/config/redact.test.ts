import assert from 'node:assert/strict';
import { test } from 'node:test';
import { redact } from './redact.js';

test('values that a route sets in fields for secrets are not shown, the others are', () => {
  const set = { Authorization: 'Bearer abc', 'X-Api-Key': 'abc', 'X-Tier': 'gold' };
  assert.deepEqual(redact({ headers: { request: { set } }, sticky: { cookie: 'side' } }), {
    headers: { request: { set: { Authorization: '[redacted]', 'X-Api-Key': '[redacted]', 'X-Tier': 'gold' } } },
    sticky: { cookie: 'side' },
  });
});
