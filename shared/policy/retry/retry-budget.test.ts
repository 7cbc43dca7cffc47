import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from '../../clock/fake-clock.js';
import { seeded } from '../../../tests/support/seeded.js';
import { RetryBudget } from './retry-budget.js';

describe('RetryBudget', () => {
  test('whatever happens when, no window of time sees more than its share and its reserve', async () => {
    const step = fc.record({ waitMs: fc.integer({ min: 0, max: 700 }), requests: fc.integer({ min: 0, max: 20 }), retries: fc.integer({ min: 0, max: 20 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 80 }), fc.double({ min: 0, max: 1, noNaN: true }), fc.integer({ min: 0, max: 5 }), async (steps, ratio, minPerSecond) => {
        const clock = new FakeClock();
        const budget = new RetryBudget({ ratio, minPerSecond, window: 2_000 }, clock);
        const log: { at: number; requests: number; retries: number }[] = [];
        for (const { waitMs, requests, retries } of steps) {
          await clock.advance(waitMs);
          let granted = 0;
          for (let index = 0; index < requests; index++) budget.deposit();
          for (let index = 0; index < retries; index++) if (budget.withdraw()) granted++;
          log.push({ at: clock.now(), requests, retries: granted });
          // A slot is a tenth of the window: that much earlier a retry may have been forgotten.
          const recent = log.filter(({ at }) => at > clock.now() - 1_800);
          const requestsCounted = log.filter(({ at }) => at > clock.now() - 2_000).reduce((sum, entry) => sum + entry.requests, 0);
          const allowed = requestsCounted * ratio + minPerSecond * 2;
          if (granted > 0) assert.ok(recent.reduce((sum, entry) => sum + entry.retries, 0) <= allowed + 1e-9);
        }
      }),
      { seed: 11, numRuns: 100 },
    );
  });

  test('gives back what was taken for nothing, also when the slot it was taken in is another, and never more', async () => {
    const clock = new FakeClock();
    const budget = new RetryBudget({ ratio: 0, minPerSecond: 1, window: 2_000 }, clock);
    const granted = (): number => [1, 2, 3].filter(() => budget.withdraw()).length;
    assert.equal(granted(), 2);
    await clock.advance(500);
    budget.giveBack();
    assert.equal(granted(), 1);
    for (let index = 0; index < 5; index++) budget.giveBack();
    assert.equal(granted(), 2);
    await clock.advance(5_000);
    budget.giveBack();
    assert.equal(granted(), 2);
  });

  test('in an outage of an upstream with 1,000 requests a second, a fifth and ten a second are retried (seeded)', async () => {
    const random = seeded(3);
    const clock = new FakeClock();
    const budget = new RetryBudget({ ratio: 0.2, minPerSecond: 10, window: 10_000 }, clock);
    let [requests, retries] = [0, 0];
    while (clock.now() < 60_000) {
      // Poisson arrivals.
      await clock.advance(-Math.log(1 - random()) * 10);
      for (let index = 0; index < 10; index++) {
        budget.deposit();
        const counts = clock.now() > 20_000;
        if (counts) requests++;
        if (budget.withdraw() && counts) retries++;
      }
    }
    const perRequest = retries / requests;
    assert.ok(perRequest > 0.2 && perRequest < 0.225, `${perRequest} retries for each request`);
  });
});
