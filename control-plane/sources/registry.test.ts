import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import type { Clock } from '../../shared/clock/clock.js';
import { maxInstancesOfService, RegistryFull } from './instances.js';
import { Registry } from './registry.js';

const at = (port: number): string => `127.0.0.1:${port}`;

function watched(clock: Clock, graceMs = 0) {
  const registry = new Registry(clock, { graceMs });
  let changes = 0;
  registry.onChange(() => changes++);
  return {
    registry,
    changes: () => changes,
    names: () => registry.instances.map(({ instance }) => instance),
    /** Registers instances of a service, numbered, each with its number as port. */
    register: async (service: string, numbers: readonly number[], ttlMs = 3_000) => {
      for (const number of numbers) await registry.register({ service, instance: `${service}-${number}`, endpoint: at(number) }, ttlMs);
    },
  };
}

describe('leases', () => {
  test('an instance that renews stays, and tells nobody of it; one that does not is gone after its lease', async () => {
    const clock = new FakeClock();
    const { registry, register, names, changes } = watched(clock);
    await register('orders', [1, 2]);
    assert.equal(changes(), 2);
    for (let second = 0; second < 5; second++) {
      await clock.advance(1_000);
      await register('orders', [1]);
      assert.equal(names().includes('orders-2'), second < 2);
    }
    assert.deepEqual(registry.endpoints('orders'), [at(1)]);
    assert.equal(changes(), 3, 'two came, one went');
    await registry.close();
    assert.equal(clock.pending, 0);
  });

  test('a changed address takes the place of the one before', async () => {
    const { registry, register } = watched(new FakeClock());
    await register('orders', [1]);
    await registry.register({ service: 'orders', instance: 'orders-1', endpoint: { address: at(7), weight: 3 } }, 3_000);
    assert.deepEqual(registry.endpoints('orders'), [{ address: at(7), weight: 3 }]);
    await registry.close();
  });

  test('two instances at one address are one endpoint, which stays until both are gone', async () => {
    const { registry } = watched(new FakeClock());
    for (const instance of ['old', 'new']) await registry.register({ service: 'orders', instance, endpoint: at(1) }, 3_000);
    assert.deepEqual(registry.endpoints('orders'), [at(1)]);
    assert.equal(await registry.deregister('orders', 'old'), true);
    assert.deepEqual(registry.endpoints('orders'), [at(1)]);
    assert.equal(await registry.deregister('orders', 'old'), false);
    await registry.close();
  });

  test('what ends without a good-bye empties no service: the last to go stay its endpoints', async () => {
    const clock = new FakeClock();
    const { registry, register, names } = watched(clock);
    await register('orders', [1]);
    await clock.advance(1_000);
    await register('orders', [2]);
    await clock.advance(60_000);
    assert.deepEqual(names(), []);
    assert.deepEqual(registry.endpoints('orders'), [at(1), at(2)], 'both lapsed within one lease');
    assert.equal(registry.standing('orders').state, 'known');
    await register('orders', [3]);
    assert.deepEqual(registry.endpoints('orders'), [at(3)]);
    await registry.close();
  });

  test('one that died long before the last is not among those that stay', async () => {
    const clock = new FakeClock();
    const { registry, register } = watched(clock);
    await register('orders', [1, 2]);
    for (let second = 0; second < 20; second++) {
      await clock.advance(1_000);
      await register('orders', [2]);
    }
    await clock.advance(60_000);
    assert.deepEqual(registry.endpoints('orders'), [at(2)]);
    await registry.close();
  });

  test('a good-bye of the last empties the service, on purpose; of one never heard of nothing is known', async () => {
    const { registry, register } = watched(new FakeClock());
    assert.equal(registry.standing('orders').state, 'unknown');
    await register('orders', [1]);
    await registry.deregister('orders', 'orders-1');
    assert.deepEqual([registry.endpoints('orders'), registry.standing('orders').state], [[], 'vacated']);
    await registry.close();
  });
});

describe('silence of many at once', () => {
  test('is not believed: all stay until enough have called again', async () => {
    const clock = new FakeClock();
    const { registry, register, names } = watched(clock);
    await register('orders', [1, 2, 3]);
    await register('users', [4, 5, 6]);
    // Two thirds of the instances are cut off.
    for (let second = 0; second < 60; second++) {
      await clock.advance(1_000);
      await register('orders', [1]);
      await register('users', [4]);
    }
    assert.equal(registry.isProtected, true);
    assert.deepEqual(names().sort(), ['orders-1', 'orders-2', 'orders-3', 'users-4', 'users-5', 'users-6']);
    assert.deepEqual(registry.endpoints('orders'), [at(1), at(2), at(3)]);
    await register('orders', [2]);
    await clock.advance(200);
    assert.equal(registry.isProtected, false);
    assert.deepEqual(registry.endpoints('orders'), [at(1), at(2)], 'what does not call then is believed to be dead');
    await registry.close();
  });

  test('is believed after sixty of their leases', async () => {
    const clock = new FakeClock();
    const { registry, register } = watched(clock);
    await register('orders', [1, 2, 3]);
    await register('users', [4, 5, 6]);
    for (let second = 0; second < 185; second++) {
      await clock.advance(1_000);
      await register('orders', [1]);
      await register('users', [4]);
      if (second === 170) assert.equal(registry.isProtected, true);
    }
    assert.equal(registry.isProtected, false);
    assert.deepEqual([registry.endpoints('orders'), registry.endpoints('users')], [[at(1)], [at(4)]]);
    await registry.close();
  });

  test('of one service keeps no dead instance of another', async () => {
    const clock = new FakeClock();
    const { registry, register } = watched(clock);
    await register('payments', [1, 2, 3]);
    for (let second = 0; second < 10; second++) {
      // A job that crashes as soon as it is there, each time under another name.
      await register('job', Array.from({ length: 8 }, (_, index) => 100 + 8 * second + index), 100);
      await clock.advance(1_000);
      await register('payments', [1, 2]);
    }
    assert.equal(registry.isProtected, false);
    assert.deepEqual(registry.endpoints('payments'), [at(1), at(2)]);
    await registry.close();
  });

  test('instances that come in the place of those lost end it too', async () => {
    const clock = new FakeClock();
    const { registry, register } = watched(clock);
    await register('orders', [1, 2, 3]);
    await clock.advance(10_000);
    assert.equal(registry.isProtected, true);
    await register('orders', [11, 12, 13]);
    await clock.advance(200);
    assert.equal(registry.isProtected, false);
    assert.deepEqual(registry.endpoints('orders'), [at(11), at(12), at(13)]);
    await registry.close();
  });

  test('one of two that dies is out all the same', async () => {
    const clock = new FakeClock();
    const { registry, register } = watched(clock);
    for (let second = 0; second < 4; second++) {
      await register('orders', second === 0 ? [1, 2] : [1]);
      await clock.advance(1_000);
    }
    assert.deepEqual(registry.endpoints('orders'), [at(1)]);
    await registry.close();
  });
});

describe('a control plane that was away', () => {
  test('a process that was stopped for a minute ends no lease by that', async () => {
    const timers: (() => void)[] = [];
    let now = 0;
    const clock: Clock = { now: () => now, wallNow: () => 0, after: (_, callback) => (timers.push(callback), { cancel: () => {} }) };
    const { registry, register, names } = watched(clock);
    await register('orders', [1, 2]);
    now = 60_000;
    timers.pop()!();
    assert.deepEqual(names(), ['orders-1', 'orders-2']);
    assert.equal(registry.instances[0]!.leaseMs, 2_500);
    await registry.close();
  });

  test('for its grace it says that others may be there, and who has left since', async () => {
    const clock = new FakeClock();
    const { registry, register, changes } = watched(clock, 10_000);
    assert.deepEqual(registry.standing('orders'), { state: 'gathering', gone: [] });
    await register('orders', [1, 2, 3], 60_000);
    await registry.deregister('orders', 'orders-1');
    await registry.register({ service: 'orders', instance: 'orders-2', endpoint: at(22) }, 60_000);
    assert.deepEqual(registry.standing('orders'), { state: 'gathering', gone: [at(1), at(2)] });
    await register('orders', [1], 60_000);
    assert.deepEqual(registry.standing('orders'), { state: 'gathering', gone: [at(2)] });
    const before = changes();
    await clock.advance(10_100);
    assert.equal(changes(), before + 1, 'proxies are told that it is over');
    assert.deepEqual([registry.standing('orders').state, registry.standing('users').state], ['known', 'unknown']);
    await registry.close();
    assert.equal(clock.pending, 0);
  });

  test('one that dies while it gathers is among those that left', async () => {
    const clock = new FakeClock();
    const { registry, register } = watched(clock, 10_000);
    await register('orders', [1], 1_000);
    await register('orders', [2], 9_000);
    await clock.advance(1_200);
    assert.deepEqual(registry.standing('orders'), { state: 'gathering', gone: [at(1)] });
    await registry.close();
  });

  test('those of before are back for the grace, and stay when they call', async () => {
    const clock = new FakeClock();
    const { registry, register } = watched(clock, 10_000);
    registry.restore([1, 2].map((number) => ({ service: 'orders', instance: `orders-${number}`, endpoint: at(number) })), 10_000);
    await clock.advance(5_000);
    await register('orders', [1], 30_000);
    await clock.advance(6_000);
    assert.deepEqual(registry.endpoints('orders'), [at(1)]);
    await registry.close();
  });
});

describe('room', () => {
  test('is bounded for each service: beyond it new instances are refused, those that are there renew, and others register', async () => {
    const { registry, register } = watched(new FakeClock());
    await register('job', Array.from({ length: maxInstancesOfService }, (_, index) => index + 1));
    await assert.rejects(register('job', [maxInstancesOfService + 1]), (error) => error instanceof RegistryFull && error.message === 'There are 5000 instances of job; no more are taken.');
    await register('job', [1]);
    await register('payments', [1]);
    assert.equal(registry.instances.length, maxInstancesOfService + 1);
    await registry.close();
  });
});
