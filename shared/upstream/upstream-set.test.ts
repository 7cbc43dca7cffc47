import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { DeadlineSweep } from '../clock/deadline-sweep.js';
import { FakeClock } from '../clock/fake-clock.js';
import { endpointSchema } from '../config/endpoints.js';
import { upstreamsSchema } from '../config/sections.js';
import { PemStore } from '../tls/pem-store.js';
import type { UpstreamDependencies } from './upstream.js';
import { UpstreamSet } from './upstream-set.js';

const [a, b, c] = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3'] as const;
const unreadable = { endpoints: [c], tls: { ca: '/nowhere/ca.pem' } };
const parse = (configs: object) => upstreamsSchema.parse(configs);

/** `open` are the endpoints that were made and not closed; `watched` the upstreams; no endpoint can be made at the address `broken`. */
function start(context: TestContext, broken?: string) {
  const clock = new FakeClock();
  const open: string[] = [];
  const watched: string[] = [];
  const remove = (list: string[], name: string) => void list.splice(list.indexOf(name), 1);
  const pems = new PemStore(clock);
  context.after(() => pems.close());
  const dependencies: UpstreamDependencies = {
    clock, pems, sweep: new DeadlineSweep(clock, []), random: () => 0,
    guard: (endpoint) => {
      if (endpoint.name === broken) throw new Error('it cannot be made');
      open.push(endpoint.name);
      endpoint.onClose = () => remove(open, endpoint.name);
    },
    watch: ({ name }) => {
      watched.push(name);
      return () => remove(watched, name);
    },
  };
  return { open, watched, dependencies };
}

test('a set of which one upstream cannot be made leaves none of the others behind', async (context) => {
  const { open, watched, dependencies } = start(context);
  await assert.rejects(UpstreamSet.open(parse({ shop: { endpoints: [a, b] }, pay: unreadable }), dependencies), /ca\.pem/);
  assert.deepEqual([open, watched], [[], []]);
});

test('a set that cannot be made leaves the one before it as it was', async (context) => {
  const { open, watched, dependencies } = start(context);
  const first = await UpstreamSet.open(parse({ shop: { endpoints: [a] } }), dependencies);
  await assert.rejects(UpstreamSet.open(parse({ shop: { endpoints: [a, b] }, pay: unreadable }), dependencies, first), /ca\.pem/);
  assert.deepEqual([open, watched], [[a], ['shop']]);
  first.retire();
  assert.deepEqual([open, watched], [[], []]);
});

test('an upstream of which one endpoint cannot be made leaves none of the others behind', async (context) => {
  const { open, watched, dependencies } = start(context, b);
  await assert.rejects(UpstreamSet.open(parse({ shop: { endpoints: [a, b] } }), dependencies), /cannot be made/);
  assert.deepEqual([open, watched], [[], []]);
});

test('endpoints that are exchanged stay as they were when one of the new ones cannot be made', async (context) => {
  const { open, dependencies } = start(context, b);
  const shop = (await UpstreamSet.open(parse({ shop: { endpoints: [a] } }), dependencies)).get('shop')!;
  assert.throws(() => shop.setEndpoints([a, c, b].map((address) => endpointSchema.parse(address))), /cannot be made/);
  assert.deepEqual([open, shop.endpoints.map(({ name }) => name)], [[a], [a]]);
});
