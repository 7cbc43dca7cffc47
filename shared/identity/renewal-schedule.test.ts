import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { lifeOfFound, lifeOfNew, untilRenewal, untilRetry } from './renewal-schedule.js';

const minute = 60_000;
const hour = 60 * minute;

describe('a renewal', () => {
  test('is due before half of the life is left, and not for all at once', () => {
    const at = [0, 0.5, 0.999].map((chance) => untilRenewal(lifeOfNew(24 * hour), () => chance) / (24 * hour));
    assert.deepEqual(at.map((share) => Math.round(share * 100)), [40, 44, 48]);
  });

  test('of a certificate from disk goes by its own words, whatever it was dated back', () => {
    const found = lifeOfFound({ notBefore: 0, notAfter: 100 * minute }, 20 * minute);
    assert.equal(Math.round(untilRenewal(found, () => 0)), 20 * minute);
  });

  test('that is overdue comes within seconds, and the sooner the less is left', () => {
    assert.equal(untilRenewal({ spanMs: 100 * minute, leftMs: 30 * minute }, () => 1), 5_000);
    assert.equal(untilRenewal({ spanMs: 100 * minute, leftMs: 10_000 }, () => 1), 500);
    assert.equal(untilRenewal({ spanMs: 100 * minute, leftMs: 0 }, () => 1), 0);
  });

  test('that failed is tried again with full jitter, often enough for what is left', () => {
    assert.equal(untilRetry(0, 12 * hour, () => 1), 200);
    assert.equal(untilRetry(3, 12 * hour, () => 1), 1_600);
    assert.equal(untilRetry(3, 12 * hour, () => 0.5), 800);
    assert.equal(untilRetry(60, 12 * hour, () => 1), minute, 'at most a minute');
    assert.equal(untilRetry(60, 100_000, () => 1), 10_000, 'a tenth of what is left');
    assert.equal(untilRetry(60, 0, () => 1), 2_000, 'after the end it goes on');
    assert.equal(untilRetry(0, hour, () => 0), 20, 'never in a loop');
  });
});
