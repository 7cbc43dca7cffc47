import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exchange, request } from '../../tests/support/policy.js';
import { matchSchema } from '../config/routes.js';
import { parseTarget } from '../http1/target.js';
import { routeName } from './route-name.js';
import { RouteTable } from './route-table.js';

/** Which of the routes, in order, a request takes. */
function find(routes: readonly object[], { host, ...fields }: Record<string, string>, target = '/', method = 'GET'): number | undefined {
  const table = new RouteTable<number>();
  routes.forEach((match, index) => table.add(matchSchema.parse(match), index));
  return table.find(request(exchange(), { ...(host !== undefined && { authority: host }), fields, target, path: target.split('?')[0]!, method }));
}

describe('conditions of a route', () => {
  const cases: readonly (readonly [name: string, match: object, fields: Record<string, string>, target: string, holds: boolean])[] = [
    ['a field with exactly the value', { headers: { 'X-Canary': 'always' } }, { 'x-canary': 'always' }, '/', true],
    ['not a field whose value only begins so', { headers: { 'X-Canary': 'always' } }, { 'x-canary': 'always!' }, '/', false],
    ['a field with exactly the value, said at length', { headers: { 'X-Canary': { exact: 'always' } } }, { 'x-canary': 'always' }, '/', true],
    ['a field whose value begins so', { headers: { 'User-Agent': { prefix: 'curl/' } } }, { 'user-agent': 'curl/8' }, '/', true],
    ['a field whose whole value matches', { headers: { 'X-Version': { regex: 'v[0-9]+' } } }, { 'x-version': 'v12' }, '/', true],
    ['not a field of which a part matches', { headers: { 'X-Version': { regex: 'v[0-9]+' } } }, { 'x-version': 'v12-beta' }, '/', false],
    ['not a field that a pattern with alternatives matches in part', { headers: { 'X-Version': { regex: 'a|ab' } } }, { 'x-version': 'abc' }, '/', false],
    ['a value with a line break, which is a character like others', { query: { v: { regex: '.*admin.*' } } }, {}, '/?v=x%0Aadmin', true],
    ['an address as host, however it is spelt', { host: '[0:0::1]' }, { host: '[::1]:80' }, '/', true],
    ['a field that is there', { headers: { 'X-Debug': { present: true } } }, { 'x-debug': '' }, '/', true],
    ['not a field that is not there', { headers: { 'X-Debug': { present: true } } }, {}, '/', false],
    ['a field that must not be there', { headers: { 'X-Debug': { present: false } } }, {}, '/', true],
    ['not a field that must not be there and is', { headers: { 'X-Debug': { present: false } } }, { 'x-debug': '1' }, '/', false],
    ['an absent field is no empty one', { headers: { 'X-Debug': { regex: '.*' } } }, {}, '/', false],
    ['a cookie among others', { cookies: { beta: '1' } }, { cookie: 'a=b; beta=1; c=d' }, '/', true],
    ['a cookie in quotes', { cookies: { beta: '1' } }, { cookie: 'beta="1"' }, '/', true],
    ['not the end of another cookie', { cookies: { beta: '1' } }, { cookie: 'alphabeta=1' }, '/', false],
    ['not a cookie in the value of another', { cookies: { beta: '1' } }, { cookie: 'a=x beta=1' }, '/', false],
    ['a cookie whose value has an equals sign', { cookies: { beta: { prefix: 'x=' } } }, { cookie: 'beta=x=y' }, '/', true],
    ['a query parameter', { query: { v: '2' } }, {}, '/?a=1&v=2', true],
    ['a query parameter, encoded', { query: { 'a b': 'c&d' } }, {}, '/?a%20b=c%26d', true],
    ['not a query parameter that is not there', { query: { v: '2' } }, {}, '/?w=2', false],
    ['not one without a query', { query: { v: { present: true } } }, {}, '/', false],
    ['the first of two parameters of one name', { query: { v: '2' } }, {}, '/?v=1&v=2', false],
    ['a malformed escape in a query', { query: { v: { present: true } } }, {}, '/?v=%zz', true],
    ['all conditions at once', { headers: { a: '1' }, cookies: { b: '2' }, query: { c: '3' } }, { a: '1', cookie: 'b=2' }, '/?c=3', true],
    ['not all conditions but one', { headers: { a: '1' }, cookies: { b: '2' }, query: { c: '3' } }, { a: '1', cookie: 'b=2' }, '/?c=4', false],
  ];
  for (const [name, match, fields, target, holds] of cases) {
    test(name, () => assert.equal(find([match, {}], fields, target), holds ? 0 : 1));
  }

  test('the route with the most conditions goes first, whatever the order', () => {
    const routes = [{}, { headers: { a: '1' } }, { headers: { a: '1' }, cookies: { b: '2' } }, { method: 'GET' }];
    assert.equal(find(routes, { a: '1', cookie: 'b=2' }), 2);
    assert.equal(find(routes, { a: '1' }), 1);
    assert.equal(find(routes, {}), 3);
    assert.equal(find(routes, {}, '/', 'POST'), 0);
  });

  test('a deeper path goes before conditions', () => {
    assert.equal(find([{ path: '/a', headers: { x: '1' } }, { path: '/a/b' }], { x: '1' }, '/a/b'), 1);
  });

  test('a value of any length is matched in time that grows with it', () => {
    const startedAt = performance.now();
    assert.equal(find([{ headers: { a: { regex: '(a+)+' } } }, {}], { a: `${'a'.repeat(30_000)}!` }), 1);
    assert.ok(performance.now() - startedAt < 5_000);
  });
});

test('routes are named by what they match, and by no value', () => {
  const name = (match: object): string => routeName({ match: matchSchema.parse(match) });
  assert.equal(name({}), '/');
  assert.equal(name({ host: 'shop', path: '/a', method: ['GET', 'PUT'] }), 'GET,PUT shop/a');
  assert.equal(name({ headers: { 'X-Canary': 'secret' }, cookies: { b: '1' }, query: { c: '1' } }), '/ (x-canary, cookie b, query c)');
});

describe('the path of a route', () => {
  test('is found by every spelling of it', () => {
    const spellings: readonly (readonly [path: string, target: string])[] = [
      ['/v1/x:export', '/v1/x%3Aexport'], ['/v1/x:export', '/v1/x:export/all'], ['/@int', '/%40int'], ['/a+b', '/a%2Bb'], ['/a!b', '/a%21b?q'],
      ['/a%2Cb', '/a,b'], ['/caf\u00e9', '/caf%C3%A9'], ['/caf%C3%A9', '/caf%C3%A9/x'], ['/a b', '/a%20b'], ['/%25', '/%25'], ['/x', '/x/%FF'],
    ];
    for (const [path, asked] of spellings) assert.equal(find([{ path }, {}], {}, parseTarget(asked, 'GET').target), 0, `${path} by ${asked}`);
    for (const [path, asked] of [['/a', '/a%3Bb'], ['/a', '/a%253A'], ['/a:b', '/a%253Ab']] as const) assert.equal(find([{ path }, {}], {}, parseTarget(asked, 'GET').target), 1, `${path} by ${asked}`);
  });

  test('that no request can have is refused with the configuration', () => {
    for (const path of ['x', '/x?y', '/x#y', '/x;y', '/a\\b', '/a//b', '/a/../b', '/.', '/a%2Fb', '/a%5cb', '/%00', '/%zz', '/100%', '/a\nb']) assert.equal(matchSchema.safeParse({ path }).success, false, path);
  });
});
