import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { gatewaySchema } from '../../gateway/config.js';
import { crossCheck as checkGateway } from '../../gateway/cross-check.js';
import { authorizationSchema, streamAuthorizationSchema } from '../../shared/config/authorization.js';
import { checkAuthorization } from '../../shared/config/check-authorization.js';
import { isObject } from '../../shared/config/is-object.js';
import { ConfigError, parseConfig } from '../../shared/config/load.js';
import { sidecarSchema } from '../../sidecar/config.js';
import { crossCheck as checkSidecar } from '../../sidecar/cross-check.js';

const jwt = { issuer: 'i', audience: 'a', jwks: { keys: [] } };
const listen = { port: 0 };
const clientAuth = { cert: 'c.pem', key: 'k.pem', clientAuth: { ca: 'ca.pem' } };

function problems(read: () => unknown): string[] {
  try {
    read();
    return [];
  } catch (error) {
    return (error as ConfigError).problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

/** What is wrong with a policy of a route of the gateway, and of the inbound side of a sidecar: the same. */
function problemsOf(authorization: object, beside: object = {}): string[] {
  const route = problems(() => parseConfig({ listen, routes: [{ upstream: 'a', authorization, ...beside }], upstreams: { a: { endpoints: [] } } }, gatewaySchema, checkGateway));
  const inbound = problems(() => parseConfig({ service: 'a', inbound: { listen, app: '127.0.0.1:1', authorization, ...beside } }, sidecarSchema, checkSidecar));
  assert.deepEqual(route.map((text) => text.replace('routes[0].', '')), inbound.map((text) => text.replace('inbound.', '')));
  return inbound;
}

const rule = (rest: object): object => ({ name: 'r', action: 'deny', ...rest });

describe('an authorization that cannot be meant', () => {
  const wrong: readonly (readonly [name: string, authorization: object, problem: RegExp])[] = [
    ['an unknown condition', { rules: [rule({ method: ['GET'] })] }, /rules\[0\]\.method: unknown key/],
    ['no action', { rules: [{ name: 'r', methods: ['GET'] }] }, /rules\[0\]\.action: /],
    ['a list without values', { rules: [rule({ methods: [] })] }, /rules\[0\]\.methods: /],
    ['a source without conditions', { rules: [rule({ from: {} })] }, /rules\[0\]\.from: at least one condition is needed/],
    ['no claim', { rules: [rule({ claims: {} })] }, /rules\[0\]\.claims: at least one claim is needed/],
    ['a method in small letters, which nobody ever sends', { rules: [rule({ methods: ['get'] })] }, /rules\[0\]\.methods\[0\]: expected a method in capitals/],
    ['a network that is none', { rules: [rule({ from: { addresses: ['10.0.0.0/33'] } })] }, /from\.addresses\[0\]: expected an address or a CIDR/],
    ...['orders', 'spiffe://shop', 'spiffe://shop*', 'spiffe://*', 'spiffe://shop/ns/default/sa/ord*', 'spiffe://shop/ns/*/sa/orders', 'spiffe://shop/ns/default/sa/orders/*', 'spiffe://Shop/*', '*'].map((name): [string, object, RegExp] => [
      `the name ${name}`, { rules: [rule({ from: { identities: [name] } })] }, /from\.identities\[0\]: expected spiffe:/,
    ]),
    ...['stock', '/a%20b', '/a?b', '/a#b', '/a;b', '/a\\b', '/a//b', '/a/../b', '/a/.', '/a\nb', '/a*', '/*/b', '/a/*/*'].map((path): [string, object, RegExp] => [
      `the path ${JSON.stringify(path)}`, { rules: [rule({ paths: [path] })] }, /rules\[0\]\.paths\[0\]: /,
    ]),
    ['a pattern that RE2 has not', { rules: [rule({ paths: [{ regex: '(?=x)' }] })] }, /paths\[0\]\.regex: expected a regular expression in RE2/],
    ['two ways to match', { rules: [rule({ paths: [{ exact: '/a', regex: 'b' }] })] }, /paths\[0\]: exactly one of exact and regex/],
    ['a host with a port', { rules: [rule({ hosts: ['shop:80'] })] }, /hosts\[0\]: expected a lower-case host without port/],
    ['a rule by the name of the default', { rules: [{ ...rule({ methods: ['GET'] }), name: 'default' }] }, /rules\[0\]\.name: is what is said of requests that no rule matches/],
    ['two rules of one name', { rules: [rule({ methods: ['GET'] }), rule({ methods: ['PUT'] })] }, /rules\[1\]\.name: another rule goes by the name "r"/],
    ['an allow rule where all is allowed', { default: 'allow', rules: [{ name: 'r', action: 'allow', methods: ['GET'] }] }, /rules\[0\]\.action: an allow rule changes nothing where the default is allow/],
    ['an allow rule for everything', { rules: [{ name: 'r', action: 'allow' }] }, /rules\[0\]: lets everything in, so that the default is never reached/],
    ['a deny rule for everything, beside others', { rules: [rule({}), { name: 's', action: 'allow', methods: ['GET'] }] }, /rules\[0\]: refuses everything, whatever the other rules say/],
    ['an allow rule that is tried', { rules: [{ name: 'r', action: 'allow', methods: ['GET'], dryRun: true }] }, /rules\[0\]\.dryRun: is for deny rules/],
    ['two rules that say the same', { default: 'allow', rules: [rule({ methods: ['GET'] }), { methods: ['GET'], action: 'deny', name: 's' }] }, /rules\[1\]: says the same as rule "r"/],
    ['a rule that another one undoes', { rules: [{ name: 's', action: 'allow', methods: ['GET'] }, rule({ methods: ['GET'] })] }, /rules\[0\]: never lets anything in: rule "r" refuses exactly the same/],
    ['conditions that exclude each other', { rules: [rule({ methods: ['GET'], notMethods: ['GET', 'PUT'] })] }, /rules\[0\]\.notMethods: excludes all of methods: the rule never matches/],
    ['sources that exclude each other', { rules: [rule({ from: { addresses: ['10.0.0.1'], notAddresses: ['10.0.0.1'] } })] }, /from\.notAddresses: excludes all of addresses/],
    ['claims without tokens', { rules: [rule({ claims: { role: 'admin' } })] }, /rules\[0\]\.claims: nothing is known of claims without jwt/],
    ['excluded claims without tokens', { rules: [rule({ notClaims: { role: 'admin' } })] }, /rules\[0\]\.notClaims: nothing is known of claims without jwt/],
    ['names where nobody can prove one', { rules: [rule({ from: { notIdentities: ['spiffe://shop/*'] } })] }, /from\.notIdentities: no caller proves an identity here/],
    ['namespaces where nobody can prove one', { rules: [rule({ from: { namespaces: ['default'] } })] }, /from\.namespaces: no caller proves an identity here/],
  ];
  for (const [name, authorization, problem] of wrong) {
    test(`is refused: ${name}`, () => {
      const found = problemsOf(authorization);
      assert.ok(found.some((text) => problem.test(text)), found.join('\n'));
    });
  }

  test('all that is wrong is said at once', () => {
    assert.equal(problemsOf({ rules: [rule({ claims: { a: 'b' }, from: { services: ['x'] } }), rule({ methods: ['x'] })] }).length, 4);
  });
});

describe('an authorization that can be meant', () => {
  const right: readonly (readonly [name: string, authorization: object])[] = [
    ['nobody at all', {}],
    ['everybody', { default: 'allow' }],
    ['a brake that is tried', { rules: [rule({ dryRun: true }), { name: 's', action: 'allow', methods: ['GET'] }] }],
    ['a rule that is tried beside the same that counts for others', { rules: [rule({ methods: ['GET'], dryRun: true }), { name: 's', action: 'allow', methods: ['GET'] }] }],
    ['all conditions at once', {
      default: 'allow', dryRun: true,
      rules: [rule({ methods: ['GET'], notMethods: ['PUT'], paths: ['/a', '/b/*', { exact: '/c' }, { regex: '/d.*' }], notPaths: ['/a/b'], hosts: ['a', '*.b'], notHosts: ['c'], headers: { 'X-A': { present: true } }, claims: { scope: ['a'], age: 7 }, notClaims: { role: 'x' } })],
    }],
  ];
  for (const [name, authorization] of right) test(`is taken: ${name}`, () => assert.deepEqual(problemsOf(authorization, { jwt }), []));

  const identities = { authorization: { rules: [{ name: 'r', action: 'allow', from: { identities: ['spiffe://shop/*'] } }] } };
  test('names of callers are taken where the listener asks for certificates, or a snapshot does not say', () => {
    assert.deepEqual(problems(() => parseConfig({ listen: { port: 0, tls: clientAuth }, routes: [{ upstream: 'a', ...identities }], upstreams: { a: { endpoints: [] } } }, gatewaySchema)), []);
    assert.deepEqual(checkGateway({ listen: { port: 0, tls: clientAuth }, routes: [{ upstream: 'a', ...identities }], upstreams: { a: { endpoints: [] } } }).filter(({ path }) => path.startsWith('routes')), []);
    assert.deepEqual(checkGateway({ routes: [{ upstream: 'a', ...identities }], upstreams: { a: { endpoints: [] } } }, { running: { listen } }), []);
    assert.deepEqual(checkSidecar({ inbound: identities }), []);
    assert.deepEqual(checkSidecar({ service: 'a', identity: {}, inbound: { listen, ...identities } }), []);
  });

  test('what is no configuration at all is somebody else’s to refuse', () => {
    for (const authorization of [7, null, [], { rules: 3 }, { rules: [null, 7, { from: 3, claims: 4, methods: 'x', notMethods: {} }] }]) {
      assert.doesNotThrow(() => [...checkGateway({ listen, routes: [{ authorization }] }), ...checkSidecar({ service: 'a', inbound: { authorization }, tcp: [{ authorization }] })]);
    }
  });
});

describe('an authorization of connections', () => {
  const of = (authorization: object): string[] => problems(() => parseConfig({ listen, tcp: [{ listen, upstream: 'a', authorization }], upstreams: { a: { endpoints: [] } } }, gatewaySchema, checkGateway));
  test('goes by where they come from', () => assert.deepEqual(of({ rules: [{ name: 'r', action: 'allow', from: { addresses: ['10.0.0.0/8'] } }] }), []));
  test('knows nothing of requests', () => assert.deepEqual(of({ rules: [{ name: 'r', action: 'allow', methods: ['GET'], paths: ['/'] }] }), ['tcp[0].authorization.rules[0].methods: unknown key', 'tcp[0].authorization.rules[0].paths: unknown key']));
  test('knows no names where nobody can prove one', () => assert.deepEqual(of({ rules: [{ name: 'r', action: 'allow', from: { services: ['orders'] } }] }), ['tcp[0].authorization.rules[0].from.services: no caller proves an identity here: the listener asks for no certificates']));
});

test('the examples of the documentation can be meant', () => {
  const text = readFileSync(new URL('../../../docs/policies/authorization.md', import.meta.url), 'utf8');
  const blocks = [...text.matchAll(/^```yaml\n(.*?)^```/gms)].flatMap(([, yaml]) => [...parseAllDocuments(yaml!)].map((document) => document.toJS() as unknown));
  const found = blocks.flatMap((block) => sectionsWithAuthorization(block));
  assert.ok(found.length >= 6, `found ${found.length}`);
  for (const { path, own } of found) {
    (path.startsWith('tcp') ? streamAuthorizationSchema : authorizationSchema).parse(own['authorization']);
    assert.deepEqual(checkAuthorization({ path, own, hasTokens: true, hasIdentities: true }), []);
  }
});

function sectionsWithAuthorization(value: unknown, path = ''): { path: string; own: Readonly<Record<string, unknown>> }[] {
  const entries = isObject(value) || Array.isArray(value) ? Object.entries(value) : [];
  return [...(isObject(value) && 'authorization' in value ? [{ path, own: value }] : []), ...entries.flatMap(([key, inner]) => sectionsWithAuthorization(inner, `${path}${key}.`))];
}
