import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import type { Counted } from '../../policy/rate-limit/quota-windows.js';
import type { Increment } from './messages.js';
import { SharedCounters } from './shared-counters.js';

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Counters whose front answers when it is told to. */
function start() {
  const clock = new FakeClock();
  const asked: { readonly increments: readonly Increment[]; readonly answer: (counted: Counted[]) => void }[] = [];
  const counters = new SharedCounters((increments) => new Promise((answer) => asked.push({ increments, answer })), clock);
  const count = (key: string): Promise<number | string> => counters.count('scope', key, 1_000, 10).then(({ current }) => current, (error: unknown) => (error as Error).message);
  return { clock, asked, count };
}

describe('quotas that the front counts', () => {
  test('are asked for in one message for one turn, and each gets its number', async () => {
    const { clock, asked, count } = start();
    const both = [count('a'), count('b')];
    await nextTurn();
    assert.deepEqual(asked.map(({ increments }) => increments.map(({ key }) => key)), [['a', 'b']]);
    asked[0]!.answer([{ current: 3, ttl: 1 }, { current: 1, ttl: 1 }]);
    assert.deepEqual(await Promise.all(both), [3, 1]);
    await clock.advance(500);
    assert.equal(clock.pending, 0, 'no timer is left');
  });

  test('fail when it has not answered in 500 ms; what it says after that is nobody’s', async () => {
    const { clock, asked, count } = start();
    const outcomes: (number | string)[] = [];
    void count('a').then((outcome) => outcomes.push(outcome));
    await nextTurn();
    await clock.advance(499);
    assert.deepEqual(outcomes, []);
    await clock.advance(1);
    assert.deepEqual(outcomes, ['the front process has not counted 1 requests in 500 ms']);
    asked[0]!.answer([{ current: 1, ttl: 1 }]);
    const later = count('a');
    await nextTurn();
    asked[1]!.answer([{ current: 2, ttl: 1 }]);
    assert.equal(await later, 2);
  });
});
