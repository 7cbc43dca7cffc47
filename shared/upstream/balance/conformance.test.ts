import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ProxyError } from '../../errors/proxy-error.js';
import { TestUpstream } from '../../../tests/support/upstream.js';

/** What every algorithm must do, whatever it is good at; and how far its shares may be from the weights. */
const algorithms: readonly (readonly [balance: { readonly algorithm: string }, tolerance: number])[] = [
  [{ algorithm: 'peak-ewma' }, 0.02],
  [{ algorithm: 'least-request' }, 0.02],
  [{ algorithm: 'round-robin' }, 0.001],
  [{ algorithm: 'random' }, 0.02],
  [{ algorithm: 'ring-hash', hash: { header: 'x-user' } } as { algorithm: string }, 0.05],
];

const [a, b, c, d] = ['10.0.0.1:80', '10.0.0.2:80', '10.0.0.3:80', '10.0.0.4:80'] as const;
const addresses: readonly string[] = [a, b, c, d];
const codeOf = (error: unknown): string => (error as ProxyError).code;

for (const [balance, tolerance] of algorithms) {
  describe(`balancing by ${balance.algorithm}`, () => {
    test('sends everything to a single endpoint, also what was tried there', async () => {
      const origin = new TestUpstream([a], { balance });
      assert.deepEqual(await origin.count(10), { [a]: 10 });
      assert.equal(await origin.send({ tried: [a] }), a);
    });

    test('has no endpoint to offer where there is none', async () => {
      const origin = new TestUpstream([], { balance });
      await assert.rejects(origin.send(), (error) => codeOf(error) === 'no_endpoint');
      origin.setEndpoints([a]);
      assert.equal(await origin.send(), a);
      origin.setEndpoints([]);
      await assert.rejects(origin.send(), (error) => codeOf(error) === 'no_endpoint');
    });

    test('never chooses an endpoint that is not healthy, whatever health does meanwhile', async () => {
      const origin = new TestUpstream(addresses, { balance: { ...balance, panicThreshold: 0 } });
      for (let step = 0; step < 3_000; step++) {
        const address = addresses[Math.floor(origin.random() * 4)]!;
        const { health } = origin.endpoint(address);
        const chance = origin.random();
        if (chance < 0.2) health.object(chance < 0.1 ? 'probe' : 'outlier');
        else if (chance < 0.4) health.withdraw(chance < 0.3 ? 'probe' : 'outlier');
        else if (chance < 0.5) origin.breaker(address, chance < 0.45 ? 'open' : 'closed');
        const usable = origin.upstream.endpoints.filter((endpoint) => endpoint.health.isHealthy && endpoint.gate.accepts()).map(({ name }) => name);
        const fields = { 'x-user': `user-${step}` };
        if (usable.length === 0) await assert.rejects(origin.send({ fields }));
        else assert.ok(usable.includes(await origin.send({ fields })));
      }
    });

    test('honours weights', async () => {
      const weights = [1, 2, 5];
      const origin = new TestUpstream(weights.map((weight, index) => ({ address: addresses[index]!, weight })), { balance });
      const counts = await origin.count(20_000);
      weights.forEach((weight, index) => {
        const share = counts[addresses[index]!]! / 20_000;
        assert.ok(Math.abs(share - weight / 8) <= tolerance, `${share} instead of ${weight / 8}`);
      });
    });

    test('sends a retry to an endpoint that was not tried, while there is one', async () => {
      for (const endpoints of [addresses, addresses.map((address, index) => ({ address, weight: index + 1 }))]) {
        const origin = new TestUpstream(endpoints, { balance });
        for (let index = 0; index < 200; index++) {
          const tried: string[] = [];
          for (let attempt = 0; attempt < 4; attempt++) tried.push(await origin.send({ tried, fields: { 'x-user': `user-${index}` } }));
          assert.deepEqual([...tried].sort(), addresses);
          assert.ok(addresses.includes(await origin.send({ tried })));
        }
      }
    });

    test('chooses from the endpoints of the moment while they are exchanged, and keeps those that stay', async () => {
      const origin = new TestUpstream(addresses, { balance });
      const latencies = new Map(origin.upstream.endpoints.map(({ name, latency }) => [name, latency]));
      for (let step = 0; step < 500; step++) {
        const current = addresses.filter((_, index) => index === step % 4 || origin.random() < 0.5);
        origin.setEndpoints(current.map((address) => ({ address, weight: 1 + (step % 3) })));
        assert.ok(current.includes(await origin.send({ fields: { 'x-user': `user-${step}` } })));
      }
      origin.setEndpoints([b]);
      const stayed = origin.endpoint(b).latency;
      origin.setEndpoints([a, { address: b, weight: 7, zone: 'z', labels: { version: 'v2' } }]);
      assert.equal(origin.endpoint(b).latency, stayed);
      assert.notEqual(origin.endpoint(a).latency, latencies.get(a), 'one that was gone is another one');
    });

    test('keeps nothing of an endpoint that is gone', async () => {
      setFlagsFromString('--expose-gc');
      const collectGarbage = runInNewContext('gc') as () => void;
      const origin = new TestUpstream(addresses, { balance });
      await origin.count(50);
      const gone = new WeakRef(origin.endpoint(d));
      origin.setEndpoints([a, b]);
      await origin.count(50);
      // The engine itself may hold on to what a frame has just used.
      for (let round = 0; round < 50 && gone.deref() !== undefined; round++) {
        await origin.count(10);
        await new Promise((resolve) => setImmediate(resolve));
        collectGarbage();
      }
      assert.equal(gone.deref(), undefined);
    });
  });
}
