import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isShortage } from './connect-error.js';

const failed = (code: string, syscall: string): Error => Object.assign(new Error(code), { code, syscall });

test('a want of our own is one at whichever address of a name it was met', () => {
  assert.equal(isShortage(failed('ECONNREFUSED', 'connect'), 0), false);
  assert.equal(isShortage(failed('EMFILE', 'connect'), 0), true);
  assert.equal(isShortage(Object.assign(new AggregateError([failed('ECONNREFUSED', 'connect'), failed('EMFILE', 'connect')]), { code: 'ECONNREFUSED' }), 0), true);
});

test('a look-up that ends in vain just after a want says nothing of the endpoint, and a connection that is refused then does', () => {
  assert.equal(isShortage(failed('EMFILE', 'connect'), 5_000), true);
  assert.equal(isShortage(failed('ENOTFOUND', 'getaddrinfo'), 6_000), true);
  assert.equal(isShortage(failed('ECONNREFUSED', 'connect'), 5_500), false);
  assert.equal(isShortage(failed('ENOTFOUND', 'getaddrinfo'), 6_001), false, 'it does not prolong the time');
});
