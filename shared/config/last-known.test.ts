import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LastKnown } from './last-known.js';

test('what was learned is for whoever asks for the same, here and elsewhere', () => {
  const here = new LastKnown();
  const first = here.open<string[]>('orders');
  assert.equal(first.value, undefined);
  assert.deepEqual(here.all(), []);
  first.value = ['10.0.0.1:80'];
  assert.deepEqual(here.open<string[]>('orders').value, ['10.0.0.1:80']);
  assert.equal(here.open('users').value, undefined);
  const elsewhere = new LastKnown(here.all());
  assert.deepEqual(elsewhere.open<string[]>('orders').value, ['10.0.0.1:80']);
});

test('what nobody uses any more is forgotten', () => {
  const known = new LastKnown([['orders', 1], ['users', 2]]);
  const [first, second] = [known.open('orders'), known.open('orders')];
  known.forgetUnused();
  assert.deepEqual(known.all(), [['orders', 1]], 'nobody asked for the other');
  first.close();
  assert.deepEqual(known.all(), [['orders', 1]]);
  second.close();
  assert.deepEqual(known.all(), []);
  assert.equal(known.open('orders').value, undefined);
});
