import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { DataPlane } from '../../shared/process/data-plane.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { sidecarDynamicSchema } from '../config.js';
import { OutboundPlan } from './plan.js';

test('services and routes are in use by their names while a plan has them, and no longer', async (context) => {
  const dataPlane = new DataPlane(new FakeClock(), silentLogger, { accessLog: false });
  context.after(() => dataPlane.close());
  const { routes } = dataPlane.metrics;
  const inUse = (): boolean[] => ['orders', 'users', 'users/a'].map((name) => routes.has(name));
  const upstream = { endpoints: ['127.0.0.1:1'] };
  const build = (document: object, previous?: OutboundPlan): Promise<OutboundPlan> => OutboundPlan.build(sidecarDynamicSchema.parse(document), dataPlane.dependencies, previous);
  const first = await build({ upstreams: { orders: upstream } });
  const second = await build({ upstreams: { users: upstream }, routes: [{ match: { host: 'users', path: '/a' }, upstream: 'users' }] }, first);
  assert.deepEqual(inUse(), [true, true, true]);
  first.retire(second);
  assert.deepEqual(inUse(), [false, true, true]);
  second.retire();
  assert.deepEqual(inUse(), [false, false, false]);
});
