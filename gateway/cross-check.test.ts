import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gatewaySchema } from './config.js';
import { crossCheck } from './cross-check.js';
import { ConfigError, parseConfig } from '../shared/config/load.js';
import { crossCheck as crossCheckSidecar } from '../sidecar/cross-check.js';

/** What is wrong with a gateway that has these routes, and the upstreams `a` and `b`. */
function problemsOf(...routes: readonly object[]): string[] {
  try {
    parseConfig({ listen: { port: 0 }, routes, upstreams: { a: { endpoints: [] }, b: { endpoints: [] } } }, gatewaySchema, crossCheck);
    return [];
  } catch (error) {
    return (error as ConfigError).problems.map(({ path, message }) => `${path}: ${message}`);
  }
}

describe('routes of the gateway', () => {
  const wrong: readonly (readonly [name: string, route: object, problem: RegExp])[] = [
    ['keys that are not there', { upstream: 'a', jwt: { issuer: 'i', audience: 'a', jwks: '/nowhere/keys' } }, /^routes\[0\]\.jwt\.jwks: the file cannot be read \(ENOENT\)$/],
    ['keys that are none', { upstream: 'a', jwt: { issuer: 'i', audience: 'a', jwks: fileURLToPath(new URL('../../package.json', import.meta.url)) } }, /^routes\[0\]\.jwt\.jwks: the file holds no key set: expected \{ "keys"/],
    ['no destination', {}, /^routes\[0\]\.upstream: is missing: a route needs upstream, split, redirect or respond$/],
    ['two destinations', { upstream: 'a', respond: {} }, /^routes\[0\]: upstream and respond cannot be used together/],
    ['a side that is nowhere', { split: [{ upstream: 'a', weight: 1 }, { upstream: 'c', weight: 1 }] }, /^routes\[0\]\.split\[1\]\.upstream: there is no upstream "c"; there is a, b$/],
    ['a side twice', { split: [{ upstream: 'a', weight: 1 }, { upstream: 'a', weight: 1 }] }, /^routes\[0\]\.split: each upstream may be one side only/],
    ['no weight at all', { split: [{ upstream: 'a', weight: 0 }] }, /^routes\[0\]\.split: at least one side needs a weight above 0/],
    ['a negative weight', { split: [{ upstream: 'a', weight: -1 }] }, /^routes\[0\]\.split\[0\]\.weight: /],
    ['sticky without split', { upstream: 'a', sticky: { ip: true } }, /^routes\[0\]\.sticky: is for split, which is missing$/],
    ['two keys', { split: [{ upstream: 'a', weight: 1 }], sticky: { ip: true, cookie: 'c' } }, /^routes\[0\]\.sticky: exactly one of header, cookie and ip/],
    ['a lifetime without a cookie', { split: [{ upstream: 'a', weight: 1 }], sticky: { ip: true, ttl: '1h' } }, /^routes\[0\]\.sticky\.ttl: is for cookie only/],
    ['a shadow that is nowhere', { upstream: 'a', mirror: { upstream: 'c' } }, /^routes\[0\]\.mirror\.upstream: there is no upstream "c"/],
    ['more than all', { upstream: 'a', mirror: { upstream: 'b', percent: 101 } }, /^routes\[0\]\.mirror\.percent: /],
    ['a rewrite of what is not sent', { respond: {}, rewrite: { prefix: '/' } }, /^routes\[0\]\.rewrite: is of no use: respond sends nothing on$/],
    ['a fault that does nothing', { upstream: 'a', fault: {} }, /^routes\[0\]\.fault: delay, abort or both are needed/],
    ['an abort with a good status', { upstream: 'a', fault: { abort: { status: 200 } } }, /^routes\[0\]\.fault\.abort\.status: /],
    ['a redirect to itself', { redirect: {} }, /^routes\[0\]\.redirect: at least one of scheme, host, path and prefix/],
    ['a body where none can be', { respond: { status: 204, body: 'x' } }, /^routes\[0\]\.respond\.body: an answer of this status has none/],
    ['two ways to rewrite', { upstream: 'a', rewrite: { prefix: '/x', path: '/y' } }, /^routes\[0\]\.rewrite: at most one of prefix, path and regex/],
    ['removing a hop-by-hop field', { upstream: 'a', headers: { request: { remove: ['Transfer-Encoding'] } } }, /^routes\[0\]\.headers\.request\.remove\[0\]: is not to be changed: Transfer-Encoding frames/],
    ['removing Connection from answers', { upstream: 'a', headers: { response: { remove: ['X-Ok', 'connection'] } } }, /^routes\[0\]\.headers\.response\.remove\[1\]: is not to be changed: connection frames/],
    ['setting the length', { upstream: 'a', headers: { request: { set: { 'Content-Length': '1' } } } }, /^routes\[0\]\.headers\.request\.set\.Content-Length: is not to be changed/],
    ['adding an upgrade', { upstream: 'a', headers: { request: { add: { Upgrade: 'h2c' } } } }, /^routes\[0\]\.headers\.request\.add\.Upgrade: is not to be changed/],
    ['setting the host', { upstream: 'a', headers: { request: { set: { host: 'b' } } } }, /^routes\[0\]\.headers\.request\.set\.host: is not to be changed.*rewrite\.host/],
    ['a value with a line break', { upstream: 'a', headers: { response: { set: { 'X-A': 'a\r\nb: c' } } } }, /^routes\[0\]\.headers\.response\.set\.X-A: expected a field’s value/],
    ['a name that is none', { upstream: 'a', headers: { response: { remove: ['a b'] } } }, /^routes\[0\]\.headers\.response\.remove\[0\]: expected the name of a field/],
    ['a field named twice', { upstream: 'a', headers: { request: { remove: ['x-a'], set: { 'X-A': '1' } } } }, /^routes\[0\]\.headers\.request: each field may be named once only/],
    ['a pattern that RE2 has not', { match: { headers: { a: { regex: '(?=x)' } } }, upstream: 'a' }, /^routes\[0\]\.match\.headers\.a\.regex: expected a regular expression in RE2’s syntax/],
    ['a pattern that explodes', { match: { cookies: { a: { regex: '((a{99}){99}){99}' } } }, upstream: 'a' }, /^routes\[0\]\.match\.cookies\.a\.regex: expected a regular expression/],
    ['two ways to match', { match: { query: { a: { exact: 'x', prefix: 'x' } } }, upstream: 'a' }, /^routes\[0\]\.match\.query\.a: exactly one of exact, prefix, regex and present/],
    ...['relative', '/a/../b', '/a//b', '/a?b', '/a#b', '/a b', '/a\r\nb', '/%2e', '/%2F', '/%00', '/%zz', '/a/.;x', '/\u00e4'].flatMap((path): [string, object, RegExp][] => [
      [`a prefix such as ${JSON.stringify(path)}`, { upstream: 'a', rewrite: { prefix: path } }, /^routes\[0\]\.rewrite\.prefix: expected a path/],
      [`a redirect to ${JSON.stringify(path)}`, { redirect: { path } }, /^routes\[0\]\.redirect\.path: expected a path/],
    ]),
    ...['/a?b', '/\r\n', '/%', '/%00', '/$1/../x', '/..', '//evil'].map((substitution): [string, object, RegExp] => [
      `a substitution such as ${JSON.stringify(substitution)}`, { upstream: 'a', rewrite: { regex: { pattern: '^/(.*)', substitution } } }, /^routes\[0\]\.rewrite\.regex\.substitution: /,
    ]),
    ['a host with a path', { upstream: 'a', rewrite: { host: 'a/b' } }, /^routes\[0\]\.rewrite\.host: /],
  ];
  for (const [name, route, problem] of wrong) {
    test(`refuses ${name}`, () => {
      const problems = problemsOf(route);
      assert.ok(problems.some((text) => problem.test(text)), problems.join('\n'));
    });
  }

  const same: readonly (readonly [name: string, one: object, other: object, duplicate: boolean])[] = [
    ['equal conditions, said in two ways', { headers: { A: 'x' } }, { headers: { a: { exact: 'x' } } }, true],
    ['equal conditions in another order', { cookies: { a: '1', b: '2' } }, { cookies: { b: '2', a: '1' } }, true],
    ['the same path with a slash at its end', { path: '/a' }, { path: '/a/' }, true],
    ['the same host in other letters', { host: 'shop' }, { host: 'SHOP' }, true],
    ['a prefix and an exact value', { headers: { a: 'x' } }, { headers: { a: { prefix: 'x' } } }, false],
    ['a cookie and a field of one name', { headers: { a: 'x' } }, { cookies: { a: 'x' } }, false],
    ['cookies whose names differ in case', { cookies: { a: 'x' } }, { cookies: { A: 'x' } }, false],
    ['a query and none', { query: { a: 'x' } }, {}, false],
  ];
  for (const [name, one, other, duplicate] of same) {
    test(`${duplicate ? 'sees' : 'does not see'} a duplicate in ${name}`, () => {
      assert.deepEqual(problemsOf({ match: one, upstream: 'a' }, { match: other, upstream: 'b' }), duplicate ? ['routes[1].match: another route before it matches exactly the same requests'] : []);
    });
  }

  test('takes all of it at once', () => {
    assert.deepEqual(
      problemsOf({
        match: { path: '/a', headers: { 'X-A': { regex: 'v[0-9]+' } }, cookies: { b: { present: true } }, query: { c: { prefix: 'd' } } },
        split: [{ upstream: 'a', weight: 9 }, { upstream: 'b', weight: 1 }],
        sticky: { cookie: 'side', ttl: '14d' },
        mirror: { upstream: 'b', percent: 5 },
        rewrite: { regex: { pattern: '^/a/(.*)$', substitution: '/v2/$1' }, host: 'a.internal' },
        headers: { request: { set: { 'X-A': '1' }, add: { 'X-B': '' }, remove: ['X-C'] }, response: { remove: ['Server'] } },
        fault: { delay: { fixed: '200ms', percent: 10 }, abort: { status: 503, percent: 0.5 }, headers: { 'X-Fault': 'on' } },
        timeout: '1s',
        retry: {},
      }),
      [],
    );
  });
});

describe('limits that Fastify does not keep', () => {
  const sidecarWith = (http2: string, limits: object): string[] => crossCheckSidecar({ service: 's', outbound: { listen: { port: 0, http2 } }, limits }).map(({ path, message }) => `${path}: ${message}`);
  const problemsWith = (http2: unknown, limits: object): string[] => crossCheck({ listen: { port: 0, http2 }, routes: [{ upstream: 'a' }], upstreams: { a: {} }, limits }).filter(({ path }) => path.startsWith('limits.')).map(({ path, message }) => `${path}: ${message}`);
  const set = { upgrades: ['websocket'], tunnelIdleTimeout: '1h', http2: { streamIdleTimeout: '5m' } };

  test('are refused where they are set, with what to do about it', () => {
    const problems = problemsWith('fastify', set);
    assert.deepEqual(problems.map((text) => text.split(':')[0]), ['limits.upgrades', 'limits.tunnelIdleTimeout', 'limits.http2.streamIdleTimeout']);
    for (const text of problems) assert.match(text, /has no effect with http2: fastify: .*; leave it out, or set listen\.http2 to engine$/);
  });

  test('are refused in a sidecar too', () => {
    assert.deepEqual(sidecarWith('fastify', { upgrades: ['x'] }), ['limits.upgrades: has no effect with http2: fastify: no client can switch to another protocol; leave it out, or set outbound.listen.http2 to engine']);
    assert.deepEqual(sidecarWith('engine', { upgrades: ['x'] }), []);
  });

  test('are nobody’s trouble where they ask for nothing, are left out, or are kept', () => {
    assert.deepEqual(problemsWith('fastify', { minBodyRate: 0, upgrades: [], http2: { streamIdleTimeout: '0s', resetBurst: 5 }, writeTimeout: '1s' }), []);
    for (const engine of ['engine', true, false, undefined]) assert.deepEqual(problemsWith(engine, set), []);
  });
});
