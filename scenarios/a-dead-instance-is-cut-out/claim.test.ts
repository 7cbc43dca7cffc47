import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Facts, Placement } from '../runner/claim.js';
import { aDeadInstanceIsCutOut } from './claim.js';

test('an instance that nobody asks any more is cut out only if a breaker opened', () => {
  const { expectations } = aDeadInstanceIsCutOut;
  const avoided: Facts = { shareBefore: 0.33, hangFailed: 0.01, deadFailed: 0, endFailed: 0, ejectMs: 0, readmitMs: 600, opened: 0 };
  const all = {} as Readonly<Record<Placement, Facts>>;
  for (const placement of ['sidecar', 'both']) {
    const { holds } = expectations.find((expectation) => expectation.placement === placement)!;
    assert.ok(!holds(avoided, all), placement);
    assert.ok(holds({ ...avoided, opened: 1 }, all), placement);
  }
});
