import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { noFields } from './field-sequence.js';

describe('sequences of names', () => {
  test('equal ones are one and the same, by the likely way and by the other', () => {
    const host = noFields.then('Host')!;
    assert.equal(host.then('Accept'), host.then('Accept'));
    const accept = host.then('Accept')!;
    assert.notEqual(host.then('accept'), accept);
    assert.equal(host.then('Accept'), accept);
    assert.deepEqual([accept.names, accept.labels], [['host', 'accept'], ['Host:', 'Accept:']]);
  });

  test('a name of a length that nobody uses serves its message and is forgotten', () => {
    const long = `X-${'a'.repeat(100)}`;
    const host = noFields.then('Host')!;
    const sequence = host.then(long)!.then('Accept')!;
    assert.deepEqual(sequence.names, ['host', long.toLowerCase(), 'accept']);
    // Kept, ten thousand of them would be hundreds of megabytes.
    assert.notEqual(host.likelyNext?.label, `${long}:`);
    assert.notEqual(host.then(long), host.then(long));
  });
});
