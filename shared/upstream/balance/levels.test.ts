import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { levelsOf, sharesOf } from './levels.js';

type Loads = readonly number[];

/** Percentages of healthy endpoints of each level, and what each gets; with the numbers of Envoy's documentation. */
const cases: readonly (readonly [healthy: Loads, loads: Loads, panics: readonly boolean[]])[] = [
  [[100], [100], [false]],
  [[60], [100], [false]],
  [[49], [100], [true]],
  [[0], [100], [true]],
  [[100, 100], [100, 0], [false, false]],
  [[72, 72], [100, 0], [false, false]],
  [[71, 71], [99.4, 0.6], [false, false]],
  [[50, 60], [70, 30], [false, false]],
  [[25, 100], [35, 65], [false, false]],
  [[0, 100], [0, 100], [false, false]],
  [[5, 65], [7.1, 92.9], [true, false]],
  [[25, 25], [50, 50], [true, true]],
  [[100, 0, 0], [100, 0, 0], [false, false, false]],
  [[50, 20, 20], [70, 28, 2], [false, false, false]],
  [[20, 20, 10], [33.3, 33.3, 33.3], [true, true, true]],
];

describe('shares of levels', () => {
  for (const [healthy, loads, panics] of cases) {
    test(`${healthy.join(' %, ')} % healthy get ${loads.join(' %, ')} %${panics.includes(true) ? ', in panic' : ''}`, () => {
      const shares = sharesOf(healthy.map((percent) => ({ healthy: percent, closed: 100, total: 100 })), { overprovisioning: 1.4, panicThreshold: 0.5 });
      assert.deepEqual(shares.map(({ load }) => Math.round(load * 1_000) / 10), loads);
      assert.deepEqual(shares.map(({ isPanic }) => isPanic), panics);
    });
  }

  test('follow the sizes when all are in panic', () => {
    const shares = sharesOf([{ healthy: 0, closed: 1, total: 1 }, { healthy: 0, closed: 3, total: 3 }], { overprovisioning: 1.4, panicThreshold: 0.5 });
    assert.deepEqual(shares.map(({ load }) => load), [0.25, 0.75]);
  });

  test('are nothing in panic for those whose breakers are all open', () => {
    const options = { overprovisioning: 1.4, panicThreshold: 0.5 };
    assert.deepEqual(sharesOf([{ healthy: 0, closed: 0, total: 4 }, { healthy: 0, closed: 2, total: 4 }], options).map(({ load }) => load), [0, 1]);
    assert.deepEqual(sharesOf([{ healthy: 0, closed: 0, total: 4 }], options), [{ load: 0, isPanic: true }]);
  });

  test('without a panic threshold leave nothing for those who have nobody healthy', () => {
    const options = { overprovisioning: 1.4, panicThreshold: 0 };
    assert.deepEqual(sharesOf([{ healthy: 0, closed: 4, total: 4 }, { healthy: 1, closed: 10, total: 10 }], options), [{ load: 0, isPanic: false }, { load: 1, isPanic: false }]);
    assert.deepEqual(sharesOf([{ healthy: 0, closed: 4, total: 4 }], options), [{ load: 0, isPanic: false }]);
  });

  test('keep nothing back without over-provisioning', () => {
    const shares = sharesOf([{ healthy: 3, closed: 4, total: 4 }, { healthy: 1, closed: 1, total: 1 }], { overprovisioning: 1, panicThreshold: 0.5 });
    assert.deepEqual(shares.map(({ load }) => load), [0.75, 0.25]);
  });

  test('never add up to more or less than all, whatever the numbers', () => {
    for (let first = 0; first <= 20; first++) {
      for (let second = 0; second <= 20; second++) {
        const shares = sharesOf([{ healthy: first, closed: 20, total: 20 }, { healthy: second, closed: 20, total: 20 }], { overprovisioning: 1.4, panicThreshold: 0.5 });
        const sum = shares.reduce((total, { load }) => total + load, 0);
        assert.ok(Math.abs(sum - 1) < 1e-9, `${first} and ${second}: ${sum}`);
      }
    }
  });
});

describe('levels', () => {
  const member = (priority: number, zone?: string) => ({ config: { priority, zone } });
  const shape = (members: ReturnType<typeof member>[], zone?: string): unknown => levelsOf(members, zone).map((level) => [level.priority, level.isOwnZone, level.members.length]);

  test('are the priorities, and within each the own zone before the others', () => {
    const members = [member(1, 'b'), member(0, 'b'), member(0, 'a'), member(0), member(1, 'a'), member(0, 'a')];
    assert.deepEqual(shape(members, 'a'), [[0, true, 2], [0, false, 2], [1, true, 1], [1, false, 1]]);
  });

  test('know no zones where the proxy has none', () => {
    assert.deepEqual(shape([member(0, 'a'), member(0, 'b'), member(2)]), [[0, undefined, 2], [2, undefined, 1]]);
  });

  test('that would be empty are none', () => {
    assert.deepEqual(shape([member(0, 'b'), member(3, 'a')], 'a'), [[0, false, 1], [3, true, 1]]);
    assert.deepEqual(shape([], 'a'), []);
  });
});
