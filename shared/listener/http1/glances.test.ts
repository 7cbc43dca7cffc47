import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Glances } from './glances.js';

/** For so many clients, over a second that is looked at every 5 ms: glances, and the longest time that one was not looked after (ms). */
function lookAfter(clients: number): { glances: number; longestMs: number } {
  const glances = new Glances();
  const due = Array.from({ length: clients }, () => glances.next(0));
  const seenAt = due.map(() => 0);
  let [count, longestMs] = [0, 0];
  for (let now = 0; now <= 1_000; now += 5) {
    for (const [client, at] of due.entries()) {
      if (at > now) continue;
      count++;
      longestMs = Math.max(longestMs, now - seenAt[client]!);
      seenAt[client] = now;
      due[client] = glances.next(now);
    }
  }
  return { glances: count, longestMs };
}

const cases: readonly (readonly [clients: number, atMostMs: number])[] = [[1, 20], [10, 25], [400, 45], [3_000, 175], [8_000, 425]];
for (const [clients, atMostMs] of cases) {
  test(`${clients} clients that are made to wait are each looked after within ${atMostMs} ms, with no more than 20,000 glances a second`, () => {
    const { glances, longestMs } = lookAfter(clients);
    assert.ok(longestMs <= atMostMs, `${longestMs} ms`);
    assert.ok(glances <= 20_500, `${glances} glances`);
  });
}

test('after a time without anybody who waits, the first is looked after as soon as ever', () => {
  const glances = new Glances();
  for (let count = 0; count < 10_000; count++) glances.next(0);
  assert.equal(glances.next(10_000), 10_020);
});
