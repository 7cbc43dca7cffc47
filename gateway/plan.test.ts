import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { FakeClock } from '../shared/clock/fake-clock.js';
import type { ProxyError } from '../shared/errors/proxy-error.js';
import { parseConfigInTurns } from '../shared/config/load.js';
import { DataPlane } from '../shared/process/data-plane.js';
import { silentLogger } from '../shared/telemetry/logger.js';
import { exchange, request } from '../tests/support/policy.js';
import { turnsDuring } from '../tests/support/turns.js';
import { gatewayDynamicSchema } from './config.js';
import { crossCheck } from './cross-check.js';
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

/** The plans of a test, with the answers of a route that answers itself. */
function plans(context: TestContext) {
  const dataPlane = new DataPlane(new FakeClock(), silentLogger, { accessLog: false });
  context.after(() => dataPlane.close());
  const build = (routes: object[], previous?: Plan): Promise<Plan> => Plan.build(gatewayDynamicSchema.parse({ routes, upstreams: { orders: { endpoints: ['127.0.0.1:1'] } } }), dataPlane.dependencies, previous);
  const ask = (plan: Plan, fields: Record<string, string>): Promise<number | string> => {
    const over = exchange();
    return plan.route(request(over, { fields }), over).then(({ status }) => status, (error: unknown) => (error as ProxyError).code);
  };
  return { dataPlane, build, ask };
}

for (const names of [[undefined, undefined], ['plans', 'plans']]) {
  test(`two routes that differ in the values of their conditions have a quota each, which outlives a reload: ${names[0] === undefined ? 'without names' : 'of one name'}`, async (context) => {
    const { build, ask } = plans(context);
    const routes = (headers: (value: string) => object): object[] => ['gold', 'free'].map((value, index) => ({ ...(names[index] && { name: names[index] }), match: { headers: headers(value) }, respond: { status: 204 }, rateLimit: { max: 1 } }));
    const first = await build(routes((value) => ({ 'X-Plan': value, 'X-Region': 'eu' })));
    const of = (plan: Plan, value: string): Promise<number | string> => ask(plan, { 'X-Plan': value, 'X-Region': 'eu' });
    assert.deepEqual([await of(first, 'free'), await of(first, 'free'), await of(first, 'gold')], [204, 'rate_limited', 204]);
    const second = await build(routes((value) => ({ 'x-plan': { exact: value }, 'x-region': 'eu' })), first);
    first.retire(second);
    assert.deepEqual([await of(second, 'free'), await of(second, 'gold')], ['rate_limited', 'rate_limited']);
    second.retire();
  });
}

test('limits of routes of one name are shown together', async (context) => {
  const { dataPlane, build } = plans(context);
  const route = (value: string, initialLimit: number): object => ({ name: 'plans', match: { headers: { 'X-Plan': value } }, upstream: 'orders', adaptiveConcurrency: { initialLimit } });
  const shown = async (): Promise<string | undefined> => /^proxy_concurrency_limit\{scope="route plans"\} (\d+)$/m.exec(await dataPlane.metrics.registry.metrics())?.[1];
  const first = await build([route('gold', 4), route('free', 4)]);
  assert.equal(await shown(), '8');
  const second = await build([route('gold', 5), route('free', 4)], first);
  first.retire(second);
  assert.equal(await shown(), '9');
  second.retire();
  assert.equal(await shown(), undefined);
});

test('requests go on while many routes and upstreams are checked and built, on the version before', async (context) => {
  const { dataPlane, build, ask } = plans(context);
  const first = await build([{ respond: { status: 204 } }]);
  const names = Array.from({ length: 2_000 }, (_, index) => `u${index}`);
  const document = { routes: names.map((upstream) => ({ match: { path: `/${upstream}` }, upstream })), upstreams: Object.fromEntries(names.map((name) => [name, { endpoints: ['127.0.0.1:1'] }])) };
  let config = gatewayDynamicSchema.parse({});
  assert.ok((await turnsDuring(async () => (config = await parseConfigInTurns(document, gatewayDynamicSchema, crossCheck)))) > 2);
  let second: Plan | undefined;
  assert.ok((await turnsDuring(async () => (second = await Plan.build(config, dataPlane.dependencies, first)))) > 3);
  assert.deepEqual([await ask(first, {}), await ask(second!, {})], [204, 'no_route']);
  first.retire(second);
  second!.retire();
});
