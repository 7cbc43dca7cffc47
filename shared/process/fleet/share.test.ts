import assert from 'node:assert/strict';
import { test } from 'node:test';
import { upstreamSchema } from '../../config/sections.js';
import { shareOf, smallLimits } from './share.js';

const upstream = (limit: number): ReturnType<typeof upstreamSchema.parse> => upstreamSchema.parse({ maxConnections: limit, maxPending: limit, limits: { maxRequests: limit } });

for (const { limit, workers, shares } of [
  { limit: 8, workers: 4, shares: [2, 2, 2, 2] },
  { limit: 10, workers: 4, shares: [3, 3, 2, 2] },
  { limit: 3, workers: 2, shares: [2, 1] },
  { limit: 1, workers: 3, shares: [1, 1, 1] },
  { limit: 5, workers: 1, shares: [5] },
]) {
  test(`${limit} over ${workers} workers is ${shares.join(' + ')}`, () => {
    const whole = { upstreams: { orders: upstream(limit) } };
    const own = shares.map((_, index) => shareOf(whole, { index, workers }).upstreams.orders);
    assert.deepEqual(own.map(({ maxConnections }) => maxConnections), shares);
    assert.deepEqual(own.map(({ maxPending }) => maxPending), shares);
    assert.deepEqual(own.map(({ limits }) => limits?.maxRequests), shares);
  });
}

test('none of something stays none, and no limit stays none', () => {
  const whole = { upstreams: { orders: upstreamSchema.parse({ maxPending: 0, limits: { maxRetries: 0 } }) } };
  const { maxPending, limits } = shareOf(whole, { index: 0, workers: 4 }).upstreams.orders;
  assert.deepEqual([maxPending, limits?.maxRetries, limits?.maxRequests], [0, 0, undefined]);
});

test('limits that are smaller than the number of workers have their paths told', () => {
  const whole = { upstreams: { orders: upstreamSchema.parse({ maxPending: 0, limits: { maxRequests: 3, maxRetries: 4 } }) } };
  assert.deepEqual(smallLimits(whole, 4), ['upstreams.orders.limits.maxRequests']);
});
