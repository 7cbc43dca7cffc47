import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatSpiffeId, parseSpiffeId } from './spiffe.js';

describe('names in the mesh', () => {
  test('are read as they are written', () => {
    const id = { trustDomain: 'shop.internal', namespace: 'default', service: 'orders' };
    assert.equal(formatSpiffeId(id), 'spiffe://shop.internal/ns/default/sa/orders');
    assert.deepEqual(parseSpiffeId(formatSpiffeId(id)), id);
  });

  for (const [why, uri] of [
    ['another scheme', 'https://shop/ns/default/sa/orders'],
    ['another path', 'spiffe://shop/orders'],
    ['something behind it', 'spiffe://shop/ns/default/sa/orders/x'],
    ['an empty part', 'spiffe://shop/ns//sa/orders'],
    ['capitals', 'spiffe://Shop/ns/default/sa/orders'],
    ['a port', 'spiffe://shop:1/ns/default/sa/orders'],
    ['a query', 'spiffe://shop/ns/default/sa/orders?x'],
    ['a line break', 'spiffe://shop/ns/default/sa/orders\n'],
    ['many labels that end wrong', `spiffe://${'a.'.repeat(200)}_/ns/default/sa/orders`],
    ['endless text', `spiffe://${'a.'.repeat(100_000)}a/ns/default/sa/orders`],
  ] as const) {
    test(`refuses ${why}`, () => assert.equal(parseSpiffeId(uri), undefined));
  }
});
