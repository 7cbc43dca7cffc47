import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Cancellation } from './cancellation.js';

describe('a cancellation', () => {
  test('tells its subscribers in order, and who comes later at once', () => {
    const cancellation = new Cancellation();
    const told: string[] = [];
    for (const name of ['first', 'second', 'third']) cancellation.onCancel(({ message }) => told.push(`${name}: ${message}`));
    cancellation.cancel(new Error('gone'));
    cancellation.cancel(new Error('again'));
    cancellation.onCancel(({ message }) => told.push(`late: ${message}`));
    assert.deepEqual(told, ['first: gone', 'second: gone', 'third: gone', 'late: gone']);
  });

  test('does not tell one whose subscription another ends when it is told', () => {
    const cancellation = new Cancellation();
    const told: string[] = [];
    const ends: (() => void)[] = [];
    for (const name of ['first', 'second', 'third', 'fourth']) {
      ends.push(
        cancellation.onCancel(() => {
          told.push(name);
          ends[told.length === 1 ? 1 : 3]!();
        }),
      );
    }
    cancellation.cancel(new Error('gone'));
    assert.deepEqual(told, ['first', 'third']);
  });
});
