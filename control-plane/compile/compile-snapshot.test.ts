import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { snapshotSchema, type Snapshot } from '../../shared/control/snapshot.js';
import type { WrittenEndpoint } from '../../shared/config/endpoints.js';
import { Model } from '../model/model.js';
import { resourceSchema, type Policy, type Resource } from '../model/resources.js';
import type { Standing } from '../sources/instances.js';
import { compile, type Proxy } from './compile.js';
import { compileSnapshot, Round, snapshotKey } from './compile-snapshot.js';

const service = (name: string, more: object = {}): Resource => ({ kind: 'Service', name, ...more });
const policy = (name: string, placement: Policy['placement'], target: string, spec: Policy['spec']): Resource => ({ kind: 'Policy', name, placement, target: { services: [target] }, spec });
const gateway: Proxy = { node: 'g', kind: 'gateway' };
const sidecar = (name: string, hasIdentity = false): Proxy => ({ node: `${name}-1`, kind: 'sidecar', service: name, hasIdentity });
const identity = 'spiffe://shop/ns/default/sa/orders';
const named: WrittenEndpoint = { address: '127.0.0.1:1', identity };
const mixed: readonly WrittenEndpoint[] = [named, { address: '127.0.0.1:2', zone: 'a', identity }, '127.0.0.1:3'];

function snapshot(resources: readonly Resource[], proxy: Proxy, endpoints: readonly WrittenEndpoint[] = ['127.0.0.1:1'], standing: Standing = { state: 'known' }, isBlank = false): Snapshot {
  const { event } = compileSnapshot({ model: Model.of(resources), isBlank }, { endpoints: () => endpoints, standing: () => standing }, proxy);
  return snapshotSchema.parse(JSON.parse(event.toString().split('\n')[2]!.slice('data: '.length)));
}

describe('snapshots', () => {
  test('say which resource each part comes from', () => {
    const resources = [
      service('orders'), service('users'), { kind: 'Route', name: 'shop', service: 'orders' } as const,
      policy('quota', 'both', 'orders', { rateLimit: { max: 5 } }),
      policy('patience', 'both', 'orders', { retry: { attempts: 3 } }),
    ];
    assert.deepEqual(snapshot(resources, gateway).sources, {
      'routes[0]': 'Route/shop', 'routes[0].rateLimit': 'Policy/quota', 'upstreams.orders.retry': 'Policy/patience',
    });
    assert.deepEqual(snapshot(resources, sidecar('orders')).sources, { 'inbound.rateLimit': 'Policy/quota' });
  });

  test('name the resource of a diversion, and of what a sidecar does with calls', () => {
    const divert = [{ match: { headers: { 'x-canary': 'yes' } }, upstream: 'users' }];
    const resources = [service('orders'), service('users'), service('web'), { kind: 'Route', name: 'shop', service: 'orders' } as const, policy('canary', 'both', 'orders', { divert, headers: { request: { set: { a: 'b' } } } })];
    assert.equal(snapshot(resources, gateway).sources['routes[0]'], 'Route/shop');
    const { sources } = snapshot(resources, sidecar('web'));
    assert.deepEqual([sources['routes[0]'], sources['routes[0].headers']], ['Service/orders', 'Policy/canary']);
  });

  test('tell endpoints that may not be all from those that are, and emptiness that is meant from emptiness that is not', () => {
    const resources = [service('orders'), service('fixed', { endpoints: ['127.0.0.1:9'] }), service('closed', { endpoints: [] })];
    const of = (endpoints: readonly WrittenEndpoint[], standing: Standing) => {
      const { partial, vacated } = snapshot(resources, sidecar('web'), endpoints, standing);
      return { partial, vacated };
    };
    assert.deepEqual(of(['127.0.0.1:1'], { state: 'gathering', gone: ['127.0.0.1:2'] }), { partial: { orders: ['127.0.0.1:2'] }, vacated: ['closed'] });
    assert.deepEqual(of(['127.0.0.1:1'], { state: 'known' }), { partial: {}, vacated: ['closed'] });
    assert.deepEqual(of([], { state: 'unknown' }), { partial: {}, vacated: ['closed'] });
    assert.deepEqual(of([], { state: 'vacated' }), { partial: {}, vacated: ['closed', 'orders'] });
  });

  test('of a round look at a policy once for each proxy, however many services there are', () => {
    const looksFor = (count: number): number => {
      const numbers = Array.from({ length: count }, (_, index) => index);
      let looks = 0;
      const counted = ({ placement, ...rest }: Policy): Policy => Object.defineProperty({ ...rest } as Policy, 'placement', { enumerable: true, get: () => (looks++, placement) });
      const policies = numbers.map((number) => counted(policy(`p${number}`, 'sidecar', `s${number}`, { timeout: '3s', headers: { request: { set: { a: 'b' } } } }) as Policy));
      const model = Model.of([...numbers.map((number) => service(`s${number}`)), ...policies]);
      const round = new Round();
      for (const number of numbers) compileSnapshot({ model, isBlank: false }, { endpoints: () => [] }, sidecar(`s${number}`), round);
      return looks;
    };
    const [few, many] = [looksFor(20), looksFor(40)];
    assert.ok(many / few < 5, `${few} looks for 20 services, policies and proxies, ${many} for 40: eight times as many is services times policies times proxies`);
  });

  test('of a control plane that has nothing say so', () => {
    assert.equal(snapshot([], gateway, [], { state: 'unknown' }, true).blank, true);
    assert.equal(snapshot([], gateway).blank, false);
  });

  test('are the same for proxies of a kind, and differ in version when anything differs', () => {
    assert.equal(snapshotKey(sidecar('orders')), snapshotKey({ ...sidecar('orders'), node: 'another' }));
    assert.notEqual(snapshotKey(sidecar('orders')), snapshotKey(sidecar('orders', true)));
    const one = snapshot([service('orders')], gateway, [], { state: 'gathering', gone: [] });
    assert.equal(one.version, snapshot([service('orders')], gateway, [], { state: 'gathering', gone: [] }).version);
    assert.notEqual(snapshot([service('a')], sidecar('x')).version, snapshot([service('a')], sidecar('x'), [], { state: 'vacated' }).version);
  });
});

describe('mutual TLS', () => {
  const withMode = (mode: 'strict' | 'permissive' | 'off' | undefined, placement: Policy['placement'] = 'sidecar'): Resource[] => [
    service('orders'), service('web'), { kind: 'Route', name: 'shop', service: 'orders' },
    ...(mode === undefined ? [] : [policy('mesh', placement, 'orders', { mtls: { mode } })]),
  ];
  const upstream = (resources: Resource[], proxy: Proxy): unknown => (compile(Model.of(resources), () => mixed, proxy) as { upstreams: { orders: { endpoints: unknown } } }).upstreams.orders.endpoints;
  const plain = ['127.0.0.1:1', { address: '127.0.0.1:2', zone: 'a' }, '127.0.0.1:3'];

  for (const [mode, expected] of [[undefined, mixed], ['permissive', mixed], ['strict', mixed.slice(0, 2)], ['off', plain]] as const) {
    test(`${mode ?? 'unsaid'}: the service’s sidecars are told, and whoever calls with an identity follows`, () => {
      const { inbound } = compile(Model.of(withMode(mode)), () => [], sidecar('orders')) as { inbound: object };
      assert.deepEqual(inbound, mode === undefined ? {} : { mtls: mode });
      for (const caller of [sidecar('web', true), { ...gateway, hasIdentity: true }]) assert.deepEqual(upstream(withMode(mode), caller), expected);
    });
  }

  test('a caller without an identity gets the addresses without names', () => {
    for (const mode of [undefined, 'strict', 'permissive', 'off'] as const) assert.deepEqual(upstream(withMode(mode), sidecar('web')), plain);
  });

  test('placed nowhere it is nowhere, and at the ambassador alone it is refused', () => {
    assert.deepEqual(upstream(withMode('off', 'none'), sidecar('web', true)), mixed);
    assert.deepEqual(Model.of(withMode('strict', 'ambassador')).problems().map(({ path }) => path), ['Policy/mesh.placement']);
    assert.deepEqual(Model.of(withMode('strict', 'both')).problems(), []);
  });

  test('emptiness that strict makes is meant', () => {
    assert.deepEqual(snapshot(withMode('strict'), sidecar('web', true), ['127.0.0.1:3']).vacated, ['orders']);
  });
});

describe('the services that a service calls', () => {
  const split = [{ upstream: 'inventory', weight: 1 }, { upstream: 'inventory-v2', weight: 1 }];
  const resources = [
    service('orders', { calls: ['inventory'] }), service('inventory'), service('inventory-v2'), service('users'),
    policy('canary', 'sidecar', 'inventory', { split }), policy('greeting', 'sidecar', 'users', { headers: { request: { set: { a: 'b' } } } }),
  ];
  const of = (name: string) => compile(Model.of(resources), () => [], sidecar(name)) as { routes?: { match: { host: string } }[]; upstreams: object };

  test('are all that its sidecars get, with those that these send requests to', () => {
    assert.deepEqual(Object.keys(of('orders').upstreams), ['inventory', 'inventory-v2']);
    assert.deepEqual(of('orders').routes?.map(({ match }) => match.host), ['inventory']);
    assert.deepEqual(Object.keys(of('users').upstreams), ['inventory', 'inventory-v2', 'orders']);
  });

  test('must be there', () => {
    resourceSchema.parse(service('orders', { calls: ['lost'] }));
    assert.deepEqual(Model.of([service('orders', { calls: ['lost'] })]).problems(), [{ path: 'Service/orders.calls', message: 'there is no service "lost"' }]);
  });
});
