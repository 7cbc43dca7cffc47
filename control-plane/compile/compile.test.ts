import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { gatewayDynamicSchema } from '../../gateway/config.js';
import { crossCheck as checkGateway } from '../../gateway/cross-check.js';
import { parseConfig } from '../../shared/config/load.js';
import { sidecarDynamicSchema } from '../../sidecar/config.js';
import { crossCheck as checkSidecar } from '../../sidecar/cross-check.js';
import { Model } from '../model/model.js';
import { resourceSchema, type Placement, type Policy, type Resource } from '../model/resources.js';
import { compile } from './compile.js';

const services = ['orders', 'inventory', 'inventory-v2', 'shadow'].map((name): Resource => ({ kind: 'Service', name }));
const route: Resource = { kind: 'Route', name: 'stock', match: { path: '/stock' }, service: 'inventory' };
const split = [{ upstream: 'inventory', weight: 90 }, { upstream: 'inventory-v2', weight: 10 }];
const fault = { abort: { status: 503, percent: 5 } };
const headers = { request: { set: { 'X-Tier': 'gold' } } };
const spec = { split, sticky: { ip: true }, mirror: { upstream: 'shadow' }, fault, headers } satisfies Policy['spec'];

/** What each proxy gets of a policy for `inventory`; each document is also one that the proxy accepts. */
function documents(placement: Placement, policy: Policy['spec'] = spec) {
  const model = Model.of([...services, route, { kind: 'Policy', name: 'shape', placement, target: { services: ['inventory'] }, spec: policy }]);
  assert.deepEqual(model.problems(), []);
  const of = (service?: string): { routes?: object[]; inbound?: object; upstreams: object } => {
    const document = compile(model, () => ['127.0.0.1:1'], { node: 'n', kind: service === undefined ? 'gateway' : 'sidecar', service });
    if (service === undefined) parseConfig(document, gatewayDynamicSchema, (parsed) => checkGateway(parsed, { running: {} }));
    else parseConfig(document, sidecarDynamicSchema, checkSidecar);
    return document as ReturnType<typeof of>;
  };
  return { gateway: of(), caller: of('orders'), callee: of('inventory'), canary: of('inventory-v2') };
}

describe('shaping policies', () => {
  test('at the ambassador they are on the gateway’s routes, whose upstreams come with them', () => {
    const { gateway, caller, callee } = documents('ambassador');
    assert.deepEqual(gateway.routes, [{ name: 'stock', match: { path: '/stock' }, split, sticky: { ip: true }, fault, headers, mirror: { upstream: 'shadow' } }]);
    assert.deepEqual(Object.keys(gateway.upstreams).sort(), ['inventory', 'inventory-v2', 'shadow']);
    assert.deepEqual([caller.routes, callee.inbound], [undefined, {}]);
  });

  test('at the sidecar they are with those who call, and faults with the one that is called', () => {
    const { gateway, caller, callee, canary } = documents('sidecar');
    assert.deepEqual(gateway.routes, [{ name: 'stock', match: { path: '/stock' }, upstream: 'inventory' }]);
    assert.deepEqual(Object.keys(gateway.upstreams), ['inventory']);
    assert.deepEqual(caller.routes, [{ name: 'inventory', match: { host: 'inventory' }, split, sticky: { ip: true }, headers, mirror: { upstream: 'shadow' } }]);
    assert.deepEqual(caller.inbound, {});
    assert.deepEqual(callee.inbound, { fault });
    assert.equal(callee.routes, undefined);
    assert.ok('inventory-v2' in canary.upstreams, 'a side calls the service too, and may be sent to itself');
  });

  test('nowhere they are in no document, and in both they are in both', () => {
    const nowhere = documents('none');
    assert.deepEqual([nowhere.gateway.routes, nowhere.caller.routes, nowhere.callee.inbound], [[{ name: 'stock', match: { path: '/stock' }, upstream: 'inventory' }], undefined, {}]);
    const both = documents('both', { fault });
    assert.deepEqual([both.gateway.routes, both.callee.inbound], [[{ name: 'stock', match: { path: '/stock' }, upstream: 'inventory', fault }], { fault }]);
  });

  test('what diverts requests becomes routes before the others, with all that they match, where requests are sent from', () => {
    const divert = [{ match: { headers: { 'x-canary': 'always' } }, upstream: 'inventory-v2' }, { match: { query: { next: 'yes' } }, upstream: 'shadow' }];
    const outside = documents('ambassador', { divert, split, headers });
    assert.deepEqual(outside.gateway.routes, [
      { name: 'stock-divert-0', match: { path: '/stock', headers: { 'x-canary': 'always' } }, upstream: 'inventory-v2', headers },
      { name: 'stock-divert-1', match: { path: '/stock', query: { next: 'yes' } }, upstream: 'shadow', headers },
      { name: 'stock', match: { path: '/stock' }, split, headers },
    ]);
    assert.deepEqual(Object.keys(outside.gateway.upstreams).sort(), ['inventory', 'inventory-v2', 'shadow']);
    assert.equal(outside.caller.routes, undefined);
    const inside = documents('sidecar', { divert });
    assert.deepEqual(inside.caller.routes, [
      { name: 'inventory-divert-0', match: { host: 'inventory', headers: { 'x-canary': 'always' } }, upstream: 'inventory-v2' },
      { name: 'inventory-divert-1', match: { host: 'inventory', query: { next: 'yes' } }, upstream: 'shadow' },
    ]);
    assert.deepEqual([inside.gateway.routes, inside.callee.routes], [[{ name: 'stock', match: { path: '/stock' }, upstream: 'inventory' }], undefined]);
  });

  test('a diversion keeps the conditions of the route, and its guards', () => {
    const jwt = { issuer: 'https://issuer.example', audience: 'shop', jwks: { keys: [] } };
    const narrow: Resource = { kind: 'Route', name: 'stock', match: { path: '/stock', headers: { 'x-tenant': 'one' } }, service: 'inventory' };
    const model = Model.of([...services, narrow, { kind: 'Policy', name: 'shape', placement: 'ambassador', target: { services: ['inventory'] }, spec: { jwt, divert: [{ match: { headers: { 'x-canary': 'always' } }, upstream: 'inventory-v2' }] } }]);
    const { routes } = compile(model, () => [], { node: 'g', kind: 'gateway' }) as { routes: object[] };
    assert.deepEqual(routes[0], { name: 'stock-divert-0', match: { path: '/stock', headers: { 'x-tenant': 'one', 'x-canary': 'always' } }, upstream: 'inventory-v2', jwt });
  });

  test('a diversion that nothing is needed for, or to what is no service, is refused', () => {
    const written = (divert: Policy['spec']['divert']): Resource => ({ kind: 'Policy', name: 'shape', placement: 'both', target: { services: ['inventory'] }, spec: { divert } });
    assert.deepEqual(resourceSchema.safeParse(written([{ match: { headers: {} }, upstream: 'shadow' }])).error?.issues.map(({ path }) => path.join('.')), ['spec.divert.0.match']);
    assert.deepEqual(Model.of([...services, written([{ match: { query: { a: 'b' } }, upstream: 'gone' }])]).problems(), [{ path: 'Policy/shape.spec.divert[0].upstream', message: 'there is no service "gone"' }]);
  });

  test('a side or a shadow that is no service is named', () => {
    const model = Model.of([...services, { kind: 'Policy', name: 'shape', placement: 'both', target: { services: ['inventory'] }, spec: { split: [{ upstream: 'inventory', weight: 1 }, { upstream: 'gone', weight: 1 }], mirror: { upstream: 'lost' } } }]);
    assert.deepEqual(model.problems(), [
      { path: 'Policy/shape.spec.split[1].upstream', message: 'there is no service "gone"' },
      { path: 'Policy/shape.spec.mirror.upstream', message: 'there is no service "lost"' },
    ]);
  });
});

describe('who may do what', () => {
  const jwt = { issuer: 'https://issuer.example', audience: 'shop', jwks: { keys: [] } };
  const authorization = { rules: [{ name: 'readers', action: 'allow' as const, methods: ['GET'], claims: { scope: ['read'] } }] };
  const plain = { name: 'stock', match: { path: '/stock' }, upstream: 'inventory' };

  test('is decided where the policy is placed: on the gateway’s routes, or inbound with the service', () => {
    const both = { jwt, authorization };
    const at = (placement: Placement) => {
      const { gateway, caller, callee } = documents(placement, both);
      assert.deepEqual([caller.routes, caller.inbound], [undefined, {}], 'those who call decide nothing');
      return [gateway.routes, callee.inbound];
    };
    assert.deepEqual(at('ambassador'), [[{ ...plain, ...both }], {}]);
    assert.deepEqual(at('sidecar'), [[plain], both]);
    assert.deepEqual(at('both'), [[{ ...plain, ...both }], both]);
    assert.deepEqual(at('none'), [[plain], {}]);
  });

  test('holds for what is diverted too', () => {
    const { gateway } = documents('ambassador', { authorization: { rules: [] }, divert: [{ match: { headers: { 'x-canary': 'always' } }, upstream: 'inventory-v2' }] });
    assert.deepEqual(gateway.routes!.map((route) => (route as { authorization?: object }).authorization), [{ rules: [] }, { rules: [] }]);
  });

  const policy = (name: string, placement: Placement, spec: Policy['spec']): Resource => ({ kind: 'Policy', name, placement, target: { services: ['inventory'] }, spec });
  const problems = (...policies: Resource[]): string[] => Model.of([...services, ...policies]).problems().map(({ path, message }) => `${path}: ${message}`);

  test('by claims needs tokens that are checked in the same place, by whichever policy', () => {
    const missing = ['Policy/who.spec.authorization.rules[0].claims: nothing is known of claims without jwt in the same place'];
    assert.deepEqual(problems(policy('who', 'sidecar', { authorization })), missing);
    assert.deepEqual(problems(policy('who', 'sidecar', { authorization }), policy('tokens', 'ambassador', { jwt })), missing);
    assert.deepEqual(problems(policy('who', 'both', { authorization }), policy('tokens', 'ambassador', { jwt })), missing);
    assert.deepEqual(problems(policy('who', 'sidecar', { authorization }), policy('tokens', 'both', { jwt })), []);
    assert.deepEqual(problems(policy('who', 'none', { authorization })), []);
  });

  test('is refused where rules cannot be meant', () => {
    const useless = { default: 'allow' as const, rules: [{ name: 'a', action: 'allow' as const, methods: ['GET'] }] };
    assert.deepEqual(problems(policy('who', 'none', { authorization: useless })), ['Policy/who.spec.authorization.rules[0].action: an allow rule changes nothing where the default is allow']);
  });
});

describe('a service', () => {
  test('says what is spoken and where it is found, to whoever sends to it', () => {
    const discovery = { dns: { name: 'pricing.test', port: 80 } };
    const model = Model.of([{ kind: 'Service', name: 'pricing', protocol: 'h2', discovery }, { kind: 'Service', name: 'orders' }, { kind: 'Route', name: 'all', service: 'pricing' }]);
    for (const proxy of [{ node: 'g', kind: 'gateway' }, { node: 's', kind: 'sidecar', service: 'orders' }] as const) {
      const document = compile(model, () => ['127.0.0.1:1'], proxy) as { upstreams: Record<string, unknown> };
      if (proxy.kind === 'gateway') parseConfig(document, gatewayDynamicSchema, (parsed) => checkGateway(parsed, { running: {} }));
      else parseConfig(document, sidecarDynamicSchema, checkSidecar);
      assert.deepEqual(document.upstreams['pricing'], { endpoints: [], discovery, protocol: 'h2' }, 'no instances of the registry beside it');
    }
  });

  test('whose discovery is wrong is refused', () => {
    const { success } = resourceSchema.safeParse({ kind: 'Service', name: 'pricing', discovery: { dns: { name: 'pricing.test' } } });
    assert.equal(success, false);
  });
});
