import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../shared/clock/fake-clock.js';
import { DataPlane } from '../shared/process/data-plane.js';
import { silentLogger } from '../shared/telemetry/logger.js';
import { gatewayDynamicSchema } from './config.js';
import { Plan } from './plan.js';

test('routes and upstreams are in use by their names while a plan has them, and no longer', async (context) => {
  const dataPlane = new DataPlane(new FakeClock(), silentLogger, { accessLog: false });
  context.after(() => dataPlane.close());
  const { routes, upstreams } = dataPlane.metrics;
  const inUse = (): boolean[] => ['/a', '/b', '/c'].map((name) => routes.has(name)).concat(upstreams.has('orders'), upstreams.has('users'));
  const build = (paths: string[], upstream: string, previous?: Plan): Promise<Plan> =>
    Plan.build(gatewayDynamicSchema.parse({ routes: paths.map((path) => ({ match: { path }, upstream })), upstreams: { [upstream]: { endpoints: ['127.0.0.1:1'] } } }), dataPlane.dependencies, previous);
  const first = await build(['/a', '/b'], 'orders');
  assert.deepEqual(inUse(), [true, true, false, true, false]);
  const second = await build(['/b', '/c'], 'users', first);
  assert.deepEqual(inUse(), [true, true, true, true, true]);
  first.retire(second);
  assert.deepEqual(inUse(), [false, true, true, false, true]);
  second.retire();
  assert.deepEqual(inUse(), [false, false, false, false, false]);
});
