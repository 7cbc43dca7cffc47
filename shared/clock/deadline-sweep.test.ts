import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Clock } from './clock.js';
import { DeadlineSweep, type Sweepable } from './deadline-sweep.js';
import { FakeClock } from './fake-clock.js';

function start(timeouts: readonly number[] = [2_000]): { clock: FakeClock; sweep: DeadlineSweep } {
  const clock = new FakeClock();
  return { clock, sweep: new DeadlineSweep(clock, timeouts) };
}

function watched(clock: Clock): Sweepable & { readonly told: number[] } {
  const told: number[] = [];
  return { told, deadline: Infinity, onDeadline: () => told.push(clock.now()) };
}

test('a deadline is noticed within a quarter of the shortest timeout, once', async () => {
  const { clock, sweep } = start([8_000, 400]);
  const item = watched(clock);
  sweep.add(item);
  item.deadline = 50;
  await clock.advance(1_000);
  assert.deepEqual(item.told, [100]);
});

test('shorter timeouts that come later are watched as closely, from then on', async () => {
  const { clock, sweep } = start();
  const item = watched(clock);
  sweep.add(item);
  await clock.advance(10);
  sweep.expect([Infinity, 80]);
  item.deadline = 15;
  await clock.advance(20);
  assert.deepEqual(item.told, [30]);
  sweep.expect([8_000]);
  item.deadline = 31;
  await clock.advance(500);
  assert.deepEqual(item.told, [30, 50]);
});

test('one that was asked for is noticed in time, and the others go on as before', async () => {
  const { clock, sweep } = start();
  const [near, far] = [watched(clock), watched(clock)];
  sweep.add(near);
  sweep.add(far);
  [near.deadline, far.deadline] = [20, 900];
  sweep.soon(20);
  await clock.advance(2_000);
  assert.deepEqual([near.told, far.told], [[20], [900]]);
});

test('a later one that was asked for meanwhile is not forgotten', async () => {
  const { clock, sweep } = start();
  const item = watched(clock);
  sweep.add(item);
  item.deadline = 20;
  sweep.soon(20);
  await clock.advance(10);
  item.deadline = 30;
  sweep.soon(30);
  await clock.advance(100);
  assert.deepEqual(item.told, [30]);
});

test('shorter timeouts that were told while there was nothing to watch are watched as closely', async () => {
  const { clock, sweep } = start();
  const item = watched(clock);
  sweep.add(item);
  sweep.delete(item);
  sweep.expect([80]);
  sweep.add(item);
  item.deadline = 15;
  await clock.advance(100);
  assert.deepEqual(item.told, [20]);
});

test('one that is added by another that is told does not put off the next that is known', async () => {
  const { clock, sweep } = start();
  const [near, added] = [watched(clock), watched(clock)];
  const first: Sweepable = { deadline: 500, onDeadline: () => sweep.add(added) };
  sweep.add(first);
  sweep.add(near);
  near.deadline = 520;
  await clock.advance(1_000);
  assert.deepEqual(near.told, [520]);
});

test('looks no more often than every 10 ms, however near deadlines are', async () => {
  const { clock, sweep } = start();
  const items = Array.from({ length: 20 }, () => watched(clock));
  items.forEach((item, index) => {
    sweep.add(item);
    item.deadline = 500 + index;
  });
  await clock.advance(1_000);
  assert.deepEqual(new Set(items.flatMap(({ told }) => told)), new Set([500, 510, 520]));
});

test('one that asks again whenever it is told is told again and again', async () => {
  const { clock, sweep } = start();
  const told: number[] = [];
  const item: Sweepable = {
    deadline: 20,
    onDeadline() {
      told.push(clock.now());
      item.deadline = clock.now() + 20;
      sweep.soon(item.deadline);
    },
  };
  sweep.add(item);
  sweep.soon(20);
  await clock.advance(70);
  assert.deepEqual(told, [20, 40, 60]);
});

test('a timer that ends before its time is set again', async () => {
  const clock = new FakeClock();
  const hasty: Clock = { now: () => clock.now(), wallNow: () => clock.wallNow(), after: (ms, callback) => clock.after(ms > 5 ? ms - 4 : ms, callback) };
  const sweep = new DeadlineSweep(hasty, [2_000]);
  const item = watched(clock);
  sweep.add(item);
  item.deadline = 20;
  sweep.soon(20);
  await clock.advance(30);
  assert.deepEqual(item.told, [20]);
});

test('leaves no timer when there is nothing to watch', async () => {
  const { clock, sweep } = start([100]);
  const item = watched(clock);
  sweep.soon(10);
  assert.equal(clock.pending, 0);
  sweep.add(item);
  sweep.delete(item);
  await clock.advance(50);
  assert.equal(clock.pending, 0);
  sweep.add(item);
  sweep.close();
  assert.equal(clock.pending, 0);
});
