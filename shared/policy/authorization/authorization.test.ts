import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { endingWith, exchange, request, response, trailersOf } from '../../../tests/support/policy.js';
import { authorizationSchema } from '../../config/authorization.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import type { Exchange } from '../../http/exchange.js';
import { Headers } from '../../http/headers.js';
import { parseTarget } from '../../http1/target.js';
import { parseSpiffeId } from '../../identity/spiffe.js';
import { authorization } from './authorization.js';

/** Who asks for what, as the listener, mutual TLS and jwt would have noted it. */
interface Asked {
  readonly method?: string;
  /** As the client spells it. */
  readonly target?: string;
  readonly host?: string;
  readonly fields?: readonly (readonly [name: string, value: string])[];
  readonly peer?: string;
  readonly address?: string;
  /** Of a token that was verified; without them there was none. */
  readonly claims?: Readonly<Record<string, unknown>>;
}

const id = (service: string, namespace = 'default', domain = 'shop'): string => `spiffe://${domain}/ns/${namespace}/sa/${service}`;

/** A policy that counts what it decides. */
function start(written: object) {
  const tallies = new Map<string, { count: number }>();
  const layer = authorization(authorizationSchema.parse(written), {
    tally: (decision, rule) => {
      const tally = tallies.get(`${decision} ${rule}`) ?? { count: 0 };
      tallies.set(`${decision} ${rule}`, tally);
      return tally;
    },
  });
  const service = layer(() => Promise.resolve(response(200)));
  const send = async ({ method = 'GET', target = '/', host = 'inventory', fields = [], peer, address = '10.0.0.7', claims }: Asked = {}): Promise<Exchange> => {
    const over = exchange(address);
    const id = peer === undefined ? undefined : parseSpiffeId(peer);
    if (id !== undefined) over.peer = { id: peer!, ...id };
    const { scope = '' } = claims ?? {};
    if (claims !== undefined) over.caller = { subject: 'somebody', scopes: new Set((scope as string).split(' ')), claims };
    const headers = Headers.empty();
    for (const [name, value] of fields) headers.append(name, value);
    const parsed = parseTarget(target, method);
    await service(request(over, { method, authority: host, headers, target: parsed.target, path: parsed.path }), over).catch((error: unknown) => {
      over.errorCode = (error as ProxyError).code;
    });
    return over;
  };
  return {
    send,
    /** Name of the rule that refuses, or `-`. */
    refusedBy: async (asked: Asked): Promise<string> => {
      const over = await send(asked);
      assert.equal(over.errorCode, over.refusal === undefined ? undefined : 'access_denied');
      return over.refusal?.rule ?? '-';
    },
    counts: () => Object.fromEntries([...tallies].filter(([, { count }]) => count > 0).map(([key, { count }]) => [key, count])),
  };
}

/** Whether a request is let in by a policy that has one rule, of either kind. */
const matches = {
  allow: async (conditions: object, asked: Asked): Promise<boolean> => (await start({ rules: [{ name: 'rule', action: 'allow', ...conditions }] }).refusedBy(asked)) === '-',
  deny: async (conditions: object, asked: Asked): Promise<boolean> => (await start({ default: 'allow', rules: [{ name: 'rule', action: 'deny', ...conditions }] }).refusedBy(asked)) === 'rule',
};

test('a field that a rule asks for goes no further in another spelling, even in a dry run', async () => {
  for (const dryRun of [false, true]) {
    const config = authorizationSchema.parse({ default: 'allow', dryRun, rules: [{ name: 'internal', action: 'deny', headers: { 'X-Internal': { present: true } } }] });
    const over = exchange();
    const sent = request(over, { fields: { X_Internal: '1', 'x-other': '1', X_Other: '2' } });
    await authorization(config, { tally: () => ({ count: 0 }) })(() => Promise.resolve(response(200)))(sent, over);
    assert.deepEqual(sent.headers.toObject(), { 'x-other': '1', x_other: '2' });
  }
});

test('a field that a rule asks for is no trailer, in any spelling', async () => {
  const config = authorizationSchema.parse({ default: 'allow', rules: [{ name: 'internal', action: 'deny', headers: { 'X-Internal': { present: true } } }] });
  const over = exchange();
  const sent = request(over, { body: endingWith({ 'X-Internal': '1', X_Internal: '1', 'X-Sum': '2' }) });
  const service = authorization(config, { tally: () => ({ count: 0 }) })((passed) => Promise.resolve({ ...response(200), body: passed.body }));
  assert.deepEqual((await trailersOf((await service(sent, over)).body))?.toObject(), { 'x-sum': '2' });
});

describe('what is decided', () => {
  const allow = (name: string, ...methods: string[]): object => ({ name, action: 'allow', methods });
  const deny = (name: string, ...methods: string[]): object => ({ name, action: 'deny', methods });
  const cases: readonly (readonly [name: string, policy: object, refusedBy: string])[] = [
    ['nothing said refuses', {}, 'default'],
    ['nothing but the default lets in', { default: 'allow' }, '-'],
    ['an allow rule that matches lets in', { rules: [allow('a', 'GET')] }, '-'],
    ['an allow rule that does not match leaves it to the default', { rules: [allow('a', 'PUT')] }, 'default'],
    ['one of several allow rules is enough', { rules: [allow('a', 'PUT'), allow('b', 'GET')] }, '-'],
    ['a deny rule that matches refuses', { default: 'allow', rules: [deny('d', 'GET')] }, 'd'],
    ['a deny rule that does not match leaves it to the default', { default: 'allow', rules: [deny('d', 'PUT')] }, '-'],
    ['a deny rule goes before an allow rule', { rules: [deny('d', 'GET'), allow('a', 'GET')] }, 'd'],
    ['a deny rule goes before an allow rule, wherever it stands', { rules: [allow('a', 'GET'), deny('d', 'GET')] }, 'd'],
    ['of two deny rules the first is named', { rules: [deny('d', 'GET'), deny('e', 'GET')] }, 'd'],
    ['a deny rule that does not match lets an allow rule decide', { rules: [deny('d', 'PUT'), allow('a', 'GET')] }, '-'],
    ['all conditions of a rule must hold', { default: 'allow', rules: [{ ...deny('d', 'GET'), paths: ['/b'] }] }, '-'],
    ['a deny rule that is tried refuses nothing', { default: 'allow', rules: [{ ...deny('d', 'GET'), dryRun: true }] }, '-'],
    ['one that is not tried still does', { default: 'allow', rules: [{ ...deny('d', 'GET'), dryRun: true }, deny('e', 'GET')] }, 'e'],
    ['an allow rule that is tried lets nobody in', { rules: [{ ...allow('a', 'GET'), dryRun: true }] }, 'default'],
  ];
  for (const [name, policy, expected] of cases) {
    test(name, async () => {
      const over = await start(policy).send();
      assert.equal(over.errorCode === undefined ? '-' : over.refusal!.rule, expected);
    });
  }
});

describe('a dry run', () => {
  const rules = [{ name: 'd', action: 'deny', methods: ['PUT'] }, { name: 'a', action: 'allow', methods: ['GET', 'PUT'] }];
  test('refuses nothing, and says what it would refuse, and by which rule', async () => {
    const { send, counts } = start({ dryRun: true, rules });
    for (const [method, rule] of [['GET', undefined], ['PUT', 'd'], ['POST', 'default']] as const) {
      const over = await send({ method });
      assert.equal(over.errorCode, undefined);
      assert.deepEqual(over.refusal, rule === undefined ? undefined : { rule, isDryRun: true });
    }
    assert.deepEqual(counts(), { 'allowed a': 1, 'would_deny d': 1, 'would_deny default': 1 });
  });

  test('of one rule says what it would refuse of what the others let in', async () => {
    const { send, counts } = start({ rules: [{ name: 'tried', action: 'deny', paths: ['/x'], dryRun: true }, ...rules] });
    assert.deepEqual((await send({ target: '/x' })).refusal, { rule: 'tried', isDryRun: true });
    assert.deepEqual((await send({ target: '/x', method: 'PUT' })).refusal, { rule: 'd', isDryRun: false });
    assert.equal((await send()).refusal, undefined);
    assert.deepEqual(counts(), { 'would_deny tried': 1, 'denied d': 1, 'allowed a': 1 });
  });
});

describe('conditions', () => {
  const anonymous = {};
  const orders = { peer: id('orders') };
  const admin = { claims: { role: ['admin', 'user'], realm: { roles: ['buyer'] }, 'https://shop.example/tier': 'gold', age: 7, verified: true, scope: 'read write' } };
  const cases: readonly (readonly [name: string, conditions: object, asked: Asked, allow: boolean, deny?: boolean])[] = [
    ['a caller’s name', { from: { identities: [id('orders')] } }, orders, true],
    ['not another’s', { from: { identities: [id('payments')] } }, orders, false],
    ['not one that only begins so', { from: { identities: [id('order')] } }, orders, false],
    ['all names of a namespace', { from: { identities: ['spiffe://shop/ns/default/sa/*'] } }, orders, true],
    ['all names of a trust domain', { from: { identities: ['spiffe://shop/*'] } }, orders, true],
    ['not those of a trust domain that begins so', { from: { identities: ['spiffe://shop/*'] } }, { peer: id('orders', 'default', 'shop.example') }, false],
    ['not those of another namespace', { from: { identities: ['spiffe://shop/ns/default/*'] } }, { peer: id('orders', 'default2') }, false],
    ['never who has proven no name', { from: { identities: ['spiffe://shop/*'] } }, anonymous, false],
    ['a namespace', { from: { namespaces: ['default'] } }, orders, true],
    ['not without a certificate', { from: { namespaces: ['default'] } }, anonymous, false],
    ['a service', { from: { services: ['orders', 'payments'] } }, orders, true],
    ['a name that is excluded', { from: { notIdentities: [id('orders')] } }, orders, false],
    ['any other than the excluded', { from: { notIdentities: [id('payments')] } }, orders, true],
    ['who has proven no name is excluded from an allow rule that excludes, and refused by a deny rule', { from: { notIdentities: [id('orders')] } }, anonymous, false, true],
    ['likewise by namespace', { from: { notNamespaces: ['prod'] } }, anonymous, false, true],
    ['likewise by service', { from: { notServices: ['batch'] } }, anonymous, false, true],
    ['an address in a network', { from: { addresses: ['10.0.0.0/8', '::1'] } }, anonymous, true],
    ['an address outside of it', { from: { addresses: ['192.0.2.0/24'] } }, anonymous, false],
    ['an address in IPv6', { from: { addresses: ['2001:db8::/32'] } }, { address: '2001:db8::1' }, true],
    ['an address that is excluded', { from: { notAddresses: ['10.0.0.0/8'] } }, anonymous, false],
    ['a client of a Unix socket has no address', { from: { addresses: ['0.0.0.0/0', '::/0'] } }, { address: '' }, false],
    ['and is in no network that is excluded, which helps it nothing', { from: { notAddresses: ['10.0.0.0/8'] } }, { address: '' }, false, true],
    ['a name and an address, both', { from: { identities: [id('orders')], addresses: ['192.0.2.1'] } }, orders, false],
    ['a method', { methods: ['GET', 'HEAD'] }, {}, true],
    ['not another', { methods: ['GET'] }, { method: 'POST' }, false],
    ['all but one', { notMethods: ['GET'] }, { method: 'POST' }, true],
    ['not that one', { notMethods: ['GET'] }, {}, false],
    ['a host, whatever its port and the dot behind it', { hosts: ['shop.example'] }, { host: 'shop.example.:8080' }, true],
    ['an address as host, however the rule spells it', { hosts: ['[0:0::1]'] }, { host: '[::1]:80' }, true],
    ['a host below another', { hosts: ['*.example'] }, { host: 'shop.example' }, true],
    ['not the other itself', { hosts: ['*.example'] }, { host: 'example' }, false],
    ['all hosts but one', { notHosts: ['shop.example'] }, { host: 'other' }, true],
    ['no host at all', { notHosts: ['shop.example'] }, { host: '' }, false, true],
    ['a field', { headers: { 'X-Tenant': { prefix: 'eu-' } } }, { fields: [['x-tenant', 'eu-1']] }, true],
    ['a field that is not there', { headers: { 'X-Tenant': { present: false } } }, {}, true],
    ['a field twice, of which one is right', { headers: { 'x-tenant': 'a' } }, { fields: [['X-Tenant', 'b'], ['X-Tenant', 'a']] }, false, true],
    ['a field in another spelling', { headers: { 'X-Tenant': 'a' } }, { fields: [['X_Tenant', 'a']] }, false],
    ['a field in another spelling, beside the right one', { headers: { 'X-Tenant': 'a' } }, { fields: [['X_Tenant', 'b'], ['X-Tenant', 'a']] }, true],
    ['a field that is written with _ by the rule', { headers: { X_Tenant: 'a' } }, { fields: [['X_Tenant', 'a'], ['X-Tenant', 'b']] }, true],
    ['a field that is there in another spelling only', { headers: { 'X-Tenant': { present: false } } }, { fields: [['X_Tenant', 'a']] }, true],
    ['a field twice, right both times', { headers: { 'x-tenant': { prefix: 'a' } } }, { fields: [['X-Tenant', 'a1'], ['X-Tenant', 'a2']] }, true],
    ['a claim in a list', { claims: { role: 'admin' } }, admin, true],
    ['one of several values', { claims: { role: ['owner', 'user'] } }, admin, true],
    ['none of the values', { claims: { role: ['owner'] } }, admin, false],
    ['a claim within a claim', { claims: { 'realm.roles': ['buyer'] } }, admin, true],
    ['a claim whose name has dots', { claims: { 'https://shop.example/tier': 'gold' } }, admin, true],
    ['not a claim whose text only contains the value', { claims: { role: 'admi' } }, admin, false],
    ['a number', { claims: { age: 7 } }, admin, true],
    ['a truth value', { claims: { verified: true } }, admin, true],
    ['a word of the scope', { claims: { scope: ['write'] } }, admin, true],
    ['not two words of it as one', { claims: { scope: ['read write'] } }, admin, false],
    ['all claims that are named', { claims: { role: 'admin', age: 8 } }, admin, false],
    ['not what objects inherit', { claims: { 'constructor.name': 'Object' } }, admin, false],
    ['not the length of a list', { claims: { 'role.length': 2 } }, admin, false],
    ['not a place in a list', { claims: { 'role.0': 'admin' } }, admin, false],
    ['not a claim that is an object', { claims: { realm: '[object Object]' } }, admin, false],
    ['a claim that is missing', { claims: { tier: 'gold' } }, admin, false],
    ['a token without the value that is excluded', { notClaims: { role: ['guest'] } }, admin, true],
    ['a token with it', { notClaims: { role: ['user'] } }, admin, false],
    ['a token without the claim', { notClaims: { tier: ['free'] } }, admin, true],
    ['each claim that is excluded counts', { notClaims: { tier: ['free'], role: ['user'] } }, admin, false],
    ['no token', { claims: { role: 'admin' } }, anonymous, false],
    ['no token where a claim is excluded', { notClaims: { role: ['guest'] } }, anonymous, false, true],
  ];
  for (const [name, conditions, asked, allow, deny = allow] of cases) {
    test(name, async () => {
      assert.equal(await matches.allow(conditions, asked), allow, 'in an allow rule');
      assert.equal(await matches.deny(conditions, asked), deny, 'in a deny rule');
    });
  }
});

describe('paths', () => {
  const cases: readonly (readonly [path: string | object, target: string, matches: boolean])[] = [
    ['/stock', '/stock', true],
    ['/stock', '/stock/7?x=1', true],
    ['/stock', '/stocks', false],
    ['/stock', '/', false],
    ['/stock/', '/stock', true],
    ['/', '/anything', true],
    ['/stock/*', '/stock/7', true],
    ['/stock/*', '/stock', false],
    ['/*', '/', true],
    [{ exact: '/stock' }, '/stock', true],
    [{ exact: '/stock' }, '/stock/', false],
    [{ regex: '/stock/[0-9]+' }, '/stock/7', true],
    [{ regex: '/stock/[0-9]+' }, '/stock/7/x', false],
    ['/Stock', '/stock', false],
    ['/caf\u00e9', '/caf%C3%A9/menu', true],
    ['/a b', '/a%20b', true],
    ['/', '*', false],
    // Other spellings of what is guarded.
    ['/admin', '/%61dmin', true],
    ['/admin', '/x/../admin', true],
    ['/admin', '/x/%2e%2E/admin', true],
    ['/admin', '//admin', true],
    ['/admin', '/./admin', true],
    ['/admin', '/admin;x=1', true],
    ['/admin', 'http://inventory/admin', true],
    ['/a!b', '/a%21b', true],
    ['/a(b)', '/a%28b%29/c', true],
    ['/admin', '/admin/%FF', true],
    ['/admin', '/%E0%80', false],
    [{ regex: '/admin.*' }, '/admin/%0A', true],
    [{ exact: '/admin' }, '/%61%64min', true],
  ];
  for (const [path, target, expected] of cases) {
    test(`${JSON.stringify(path)} ${expected ? 'matches' : 'does not match'} ${target}`, async () => {
      const method = target === '*' ? 'OPTIONS' : 'GET';
      assert.equal(await matches.deny({ paths: [path] }, { method, target }), expected);
      assert.equal(await matches.allow({ notPaths: [path] }, { method, target }), !expected);
    });
  }
});

test('a pattern takes time that grows with the path and nothing else', async () => {
  const startedAt = performance.now();
  assert.equal(await matches.deny({ paths: [{ regex: '/(a+)+' }] }, { target: `/${'a'.repeat(8_000)}!` }), false);
  assert.ok(performance.now() - startedAt < 5_000);
});
