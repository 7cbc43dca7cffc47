import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../clock/fake-clock.js';
import { silentLogger } from '../telemetry/logger.js';
import { Lifecycle } from './lifecycle.js';

const fails = (message: string) => () => Promise.reject(new Error(message));

function start({ drainDelayMs = 0, drainTimeoutMs = 10_000 } = {}) {
  const clock = new FakeClock();
  const lifecycle = new Lifecycle({ clock, logger: silentLogger, drainDelayMs, drainTimeoutMs });
  const ran: string[] = [];
  return {
    clock, lifecycle, ran,
    runs: (name: string) => async () => {
      ran.push(name);
    },
  };
}

describe('a step that fails', () => {
  test('keeps nothing else from being closed, and is told in the end', async () => {
    const { lifecycle, ran, runs } = start();
    lifecycle.onClose(runs('logs'));
    lifecycle.onClose(fails('the store'));
    lifecycle.onClose(() => {
      throw new Error('the fleet');
    });
    lifecycle.onClose(runs('admin'));
    await assert.rejects(lifecycle.close(), (error) => error instanceof AggregateError && error.errors.map(({ message }: Error) => message).join() === 'the fleet,the store');
    assert.deepEqual(ran, ['admin', 'logs']);
    assert.deepEqual(lifecycle.readiness().reasons, ['stopped']);
  });

  test('is told as it is when there is no other', async () => {
    const { lifecycle } = start();
    lifecycle.onClose(fails('the store'));
    await assert.rejects(lifecycle.close(), (error) => !(error instanceof AggregateError) && (error as Error).message === 'the store');
  });

  test('is told once', async () => {
    const { lifecycle } = start();
    lifecycle.onClose(fails('the store'));
    await assert.rejects(lifecycle.close());
    await lifecycle.close();
  });

  test('while it takes leave, before the drain delay is over, ends nothing early', async () => {
    const { clock, lifecycle, ran, runs } = start({ drainDelayMs: 5_000 });
    lifecycle.onLeave(fails('the registry'));
    lifecycle.onDrain(runs('drained'));
    lifecycle.onClose(runs('closed'));
    const drained = assert.rejects(lifecycle.drain(), /the registry/);
    await clock.advance(4_999);
    assert.deepEqual(ran, []);
    await clock.advance(1);
    await drained;
    assert.deepEqual(ran, ['drained', 'closed']);
  });

  test('while it drains leaves the others their time', async () => {
    const { clock, lifecycle, ran, runs } = start();
    let finish: (() => void) | undefined;
    lifecycle.onDrain(fails('the lease'));
    lifecycle.onDrain(() => new Promise((resolve) => (finish = resolve)));
    lifecycle.onClose(runs('closed'));
    const drained = assert.rejects(lifecycle.drain(), /the lease/);
    await clock.advance(9_000);
    assert.deepEqual(ran, []);
    finish!();
    await drained;
    assert.deepEqual(ran, ['closed']);
    assert.equal(clock.pending, 0);
  });
});

test('a step that never ends keeps nothing else from being closed, and is told in the end', async () => {
  const { clock, lifecycle, ran, runs } = start();
  const never = (): Promise<void> => new Promise(() => {});
  lifecycle.onLeave(never);
  lifecycle.onDrain(runs('drained'));
  lifecycle.onClose(runs('closed'));
  lifecycle.onClose(never);
  const drained = assert.rejects(lifecycle.drain(), (error) => error instanceof AggregateError && error.errors.every(({ message }: Error) => message.includes('not over within 10000 ms')));
  await clock.advance(9_999);
  assert.deepEqual(ran, []);
  await clock.advance(1);
  assert.deepEqual(ran, ['drained']);
  await clock.advance(10_000);
  await drained;
  assert.deepEqual(ran, ['drained', 'closed']);
  assert.equal(clock.pending, 0);
});

test('a drain that overtakes the start stays a drain', async () => {
  const { clock, lifecycle } = start({ drainDelayMs: 5_000 });
  lifecycle.refuseIfDraining();
  const drained = lifecycle.drain();
  assert.throws(() => lifecycle.refuseIfDraining(), /is draining/);
  lifecycle.started();
  assert.deepEqual(lifecycle.readiness(), { ready: false, reasons: ['draining'] });
  await clock.advance(5_000);
  await drained;
  lifecycle.started();
  assert.deepEqual(lifecycle.readiness().reasons, ['stopped']);
});

test('what does not finish by itself is broken off at the end of the drain timeout', async () => {
  const { clock, lifecycle, ran, runs } = start();
  lifecycle.onDrain(() => new Promise(() => {}));
  lifecycle.onClose(runs('closed'));
  const drained = lifecycle.drain();
  await clock.advance(10_000);
  await drained;
  assert.deepEqual(ran, ['closed']);
});
