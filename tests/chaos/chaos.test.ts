import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { seeded } from '../support/seeded.js';
import { runChaos } from './chaos.js';
import { faultSchedule, settleMs } from './schedule.js';
import { summary, violations } from './verdict.js';

const seconds = Number(process.env['CHAOS_SECONDS'] ?? 30);
const seed = Number(process.env['CHAOS_SEED'] ?? 1);

test('a schedule is the same for the same seed, and never has more endpoints unwell, or well for a short time only, than it may', () => {
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 1, max: 5 }), (start, atOnce) => {
      const options = { endpoints: 6, atOnce, durationMs: 60_000 };
      const schedule = faultSchedule(seeded(start), options);
      assert.deepEqual(faultSchedule(seeded(start), options), schedule);
      assert.ok(schedule.length > 5);
      for (const { fromMs } of schedule) {
        const unsettled = new Set(schedule.filter((fault) => fault.fromMs <= fromMs && fromMs < fault.toMs + settleMs).map(({ endpoint }) => endpoint));
        assert.ok(unsettled.size <= atOnce, `${unsettled.size} at ${fromMs}`);
      }
    }),
    { seed: 3, numRuns: 50 },
  );
});

test(`for ${seconds} s endpoints crash, hang, slow down and return: nothing fails that a retry could save, nothing leaks`, { timeout: seconds * 1_000 + 90_000 }, async (context) => {
  const report = await runChaos({ seconds, seed });
  for (const line of summary(report).split('\n')) context.diagnostic(line);
  assert.deepEqual(violations(report), [], `again: npm run chaos -- --seconds ${seconds} --seed ${seed}`);
});
