import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { seeded } from '../../../tests/support/seeded.js';
import { RollingQuantile } from './rolling-quantile.js';

describe('RollingQuantile', () => {
  test('is within a bucket of the true quantile (seeded)', () => {
    for (const quantile of [0.5, 0.9, 0.99]) {
      const random = seeded(8);
      const rolling = new RollingQuantile(quantile);
      for (let now = 0; now < 20_000; now += 2) rolling.observe(-Math.log(1 - random()) * 40, now);
      const truth = -Math.log(1 - quantile) * 40;
      assert.ok(Math.abs(rolling.value! / truth - 1) < 0.12, `${quantile}: ${rolling.value} instead of ${truth}`);
    }
  });

  test('says nothing with too few samples', () => {
    const rolling = new RollingQuantile(0.95);
    const isKnown = Array.from({ length: 100 }, (_, index) => {
      rolling.observe(10, index * 1_000);
      return rolling.value !== undefined;
    });
    assert.equal(isKnown.indexOf(true), 99);
  });

  test('follows a change within half a minute', () => {
    const rolling = new RollingQuantile(0.95);
    for (let now = 0; now < 60_000; now += 5) rolling.observe(100, now);
    for (let now = 60_000; now < 110_000; now += 5) rolling.observe(10, now);
    assert.ok(rolling.value! < 11, String(rolling.value));
  });

  test('where requests are rare it goes by the last ones, however old', () => {
    const rolling = new RollingQuantile(0.95);
    for (let index = 0; index < 150; index++) rolling.observe(10, index * 10_000);
    assert.ok(rolling.value! >= 10 && rolling.value! < 11, String(rolling.value));
  });

  test('takes what is below and above its buckets for the outermost', () => {
    const rolling = new RollingQuantile(0.5);
    for (let index = 0; index < 101; index++) rolling.observe(index < 10 ? 0 : 1e9, index * 1_000);
    assert.ok(rolling.value! > 50_000 && Number.isFinite(rolling.value));
  });
});
