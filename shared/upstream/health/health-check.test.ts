import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../clock/fake-clock.js';
import { healthCheckSchema } from '../../config/health.js';
import { EndpointHealth } from '../endpoint-health.js';
import { HealthCheck } from './health-check.js';
import type { ProbeFailure } from './probe.js';

const failure: ProbeFailure = { kind: 'status', detail: 'it answered 500' };

/** A check whose results the test decides; `pause` is what the jitter leaves of an interval of 1000 ms. */
function start(config: object = {}, random = 0.5) {
  const clock = new FakeClock();
  const health = new EndpointHealth();
  const changes: boolean[] = [];
  let report: ((failure: ProbeFailure | undefined) => void) | undefined;
  let started = 0;
  let cancelled = 0;
  const check = new HealthCheck(healthCheckSchema.parse({ interval: 1_000, timeout: 300, ...config }), health, {
    clock,
    random: () => random,
    probe: (callback) => {
      started++;
      report = callback;
      return { cancel: () => cancelled++ };
    },
    onChange: (isHealthy) => changes.push(isHealthy),
  });
  check.start();
  const results = async (...all: readonly boolean[]): Promise<void> => {
    for (const passed of all) {
      report!(passed ? undefined : failure);
      await clock.advance(1_000);
    }
  };
  return { clock, health, check, changes, results, started: () => started, cancelled: () => cancelled, report: (passed: boolean) => report!(passed ? undefined : failure) };
}

describe('health check', () => {
  test('checks at once, then an interval after the end of each check', async () => {
    const { clock, report, started, check } = start();
    assert.equal(started(), 1);
    await clock.advance(200);
    report(true);
    await clock.advance(999);
    assert.equal(started(), 1);
    await clock.advance(1);
    assert.equal(started(), 2);
    check.close();
  });

  const cases: readonly (readonly [name: string, config: object, results: readonly boolean[], isHealthy: boolean])[] = [
    ['stays healthy below its threshold of failures', {}, [false, false], true],
    ['is left out at its threshold of failures', {}, [false, false, false], false],
    ['a success between failures starts the count again', {}, [false, false, true, false, false], true],
    ['stays out below its threshold of successes', {}, [false, false, false, true], false],
    ['is used again at its threshold of successes', {}, [false, false, false, true, true], true],
    ['a failure between successes starts that count again', {}, [false, false, false, true, false, true], false],
    ['starts unhealthy where the configuration says so', { initial: 'unhealthy' }, [], false],
    ['starting unhealthy, its first success is enough', { initial: 'unhealthy', healthyThreshold: 5 }, [false, true], true],
    ['later, the threshold counts for that one too', { initial: 'unhealthy', healthyThreshold: 2, unhealthyThreshold: 1 }, [true, false, true], false],
  ];
  for (const [name, config, results, isHealthy] of cases) {
    test(name, async () => {
      const run = start(config);
      await run.results(...results);
      assert.equal(run.health.isHealthy, isHealthy);
      run.check.close();
    });
  }

  test('says once that it changed, and why it may be used again or not', async () => {
    const { results, changes, check, health } = start();
    await results(false, false, false, false, false, true, true, true);
    assert.deepEqual(changes, [false, true]);
    health.object('outlier');
    await results(true);
    assert.equal(health.isHealthy, false, 'what others object to is theirs');
    check.close();
  });

  test('an answer that does not come in time is a failure, and the check is broken off', async () => {
    const { clock, health, check, cancelled, started } = start({ unhealthyThreshold: 1 });
    await clock.advance(300);
    assert.equal(health.isHealthy, false);
    assert.equal(cancelled(), 1);
    await clock.advance(1_000);
    assert.equal(started(), 2);
    check.close();
  });

  test('asks faster while the endpoint is unhealthy, if told to', async () => {
    const { clock, report, started, check } = start({ unhealthyThreshold: 1, unhealthyInterval: 100 });
    report(false);
    await clock.advance(100);
    assert.equal(started(), 2);
    check.close();
  });

  for (const [random, pause] of [[0, 800], [0.75, 1_100]] as const) {
    test(`with a jitter of 0.2 and chance ${random}, pauses ${pause} ms`, async () => {
      const { clock, report, started, check } = start({ jitter: 0.2 }, random);
      report(true);
      await clock.advance(pause - 1);
      assert.equal(started(), 1);
      await clock.advance(1);
      assert.equal(started(), 2);
      check.close();
    });
  }

  for (const [name, isUnderWay] of [['between two checks', false], ['while one is under way', true]] as const) {
    test(`closed ${name}, it leaves no timer and asks no more`, async () => {
      const { clock, report, started, check, health } = start({ unhealthyThreshold: 1 });
      if (!isUnderWay) report(true);
      check.close();
      assert.equal(clock.pending, 0);
      report(false);
      await clock.advance(60_000);
      assert.equal(started(), 1);
      assert.equal(health.isHealthy, true);
      assert.equal(clock.pending, 0);
    });
  }
});
