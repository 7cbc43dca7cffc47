import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { ConfigError, type Problem } from '../config/load.js';
import type { Document } from './document.js';
import { putInForce, type NothingLeft } from './put-in-force.js';
import { replaceBadParts, resourceOf } from './replace-bad-parts.js';

const route = (name: string, more: object = {}): object => ({ name, match: { path: `/${name}` }, upstream: 'orders', ...more });
const bad = (path: string): Problem => ({ path, message: 'is wrong' });
const good: Document = {
  routes: [route('a'), route('b', { upstream: 'old' })],
  inbound: { jwt: { issuer: 'one' } },
  upstreams: { orders: { endpoints: ['127.0.0.1:1'], retry: { attempts: 2 } }, old: { endpoints: ['127.0.0.1:9'] } },
};

describe('bad parts of a document', () => {
  const cases: readonly (readonly [name: string, next: Document, problem: string, expected: Document, part: string])[] = [
    ['a route keeps its last good version, wherever it stood', { ...good, routes: [route('new'), route('a', { jwt: 1 })] }, 'routes[1].jwt.issuer', { ...good, routes: [route('new'), route('a')] }, 'routes[1]'],
    ['a route that is new is left out', { ...good, routes: [route('a'), route('new', { jwt: 1 })] }, 'routes[1].jwt', { ...good, routes: [route('a')] }, 'routes[1]'],
    ['a route that goes back brings the upstream that it needs', { ...good, routes: [route('b', { jwt: 1 })], upstreams: { orders: good['upstreams'] } }, 'routes[0].jwt', { ...good, routes: [route('b', { upstream: 'old' })], upstreams: { orders: good['upstreams'], old: { endpoints: ['127.0.0.1:9'] } } }, 'routes[0]'],
    ['a setting of an upstream goes back, and its endpoints forward', { ...good, upstreams: { orders: { endpoints: ['127.0.0.1:2'], retry: { attempts: 0 } } } }, 'upstreams.orders.retry.attempts', { ...good, upstreams: { orders: { endpoints: ['127.0.0.1:2'], retry: { attempts: 2 } } } }, 'upstreams.orders.retry'],
    ['a setting of an upstream that had none is left out', { ...good, upstreams: { orders: { endpoints: ['127.0.0.1:2'], breaker: 7 } } }, 'upstreams.orders.breaker', { ...good, upstreams: { orders: { endpoints: ['127.0.0.1:2'] } } }, 'upstreams.orders.breaker'],
    ['an upstream that is new is left out whole', { ...good, upstreams: { ...(good['upstreams'] as object), fresh: { endpoints: [], retry: 7 } } }, 'upstreams.fresh.retry', good, 'upstreams.fresh'],
    ['an upstream whose name takes quotes is found', { ...good, upstreams: { ...(good['upstreams'] as object), 'a.b': 7 } }, 'upstreams["a.b"]', good, 'upstreams["a.b"]'],
    ['a setting of inbound goes back', { ...good, inbound: { jwt: { issuer: 7 }, rateLimit: { max: 5 } } }, 'inbound.jwt.issuer', { ...good, inbound: { jwt: { issuer: 'one' }, rateLimit: { max: 5 } } }, 'inbound.jwt'],
    ['a setting of inbound that nobody knows is left out', { ...good, inbound: { ...(good['inbound'] as object), future: true } }, 'inbound.future', good, 'inbound.future'],
  ];
  for (const [name, next, problem, expected, part] of cases) {
    test(name, () => {
      const replaced = replaceBadParts(next, good, [bad(problem)], { [part]: 'Policy/p' });
      assert.deepEqual(replaced?.document, expected);
      assert.deepEqual(replaced.rejections, [{ path: part, resource: 'Policy/p', reason: `${problem}: is wrong` }]);
    });
  }

  test('of a document that is wrong as a whole, or in what is not in parts, there are none', () => {
    for (const path of ['', 'inbound', 'routes', 'upstreams', 'listen.port']) assert.equal(replaceBadParts(good, undefined, [bad(path)]), undefined);
  });

  test('the last good version of a part that is bad itself is not put in its place again', () => {
    assert.equal(replaceBadParts(good, good, [bad('inbound.jwt')]), undefined);
    assert.deepEqual(replaceBadParts(good, good, [bad('routes[0]')])?.document['routes'], [route('b', { upstream: 'old' })]);
  });

  test('resources are named by the longest path that has one', () => {
    const sources = { 'routes[0]': 'Route/r', 'routes[0].jwt': 'Policy/p', 'upstreams.a': 'Service/a' };
    for (const [path, resource] of [['routes[0].jwt.issuer', 'Policy/p'], ['routes[0].match', 'Route/r'], ['routes[1]', undefined], ['upstreams.a.endpoints[3]', 'Service/a'], ['', undefined], ['?', undefined]] as const) {
      assert.equal(resourceOf(path, sources), resource);
    }
  });
});

describe('a snapshot is put in force', () => {
  /** A proxy that refuses some parts by their path, and some by failing to be built. */
  function proxy(refused: (document: Document) => readonly Problem[], cannotBuild: (document: Document) => string | undefined = () => undefined) {
    const applied: Document[] = [];
    return {
      applied,
      apply: async (document: unknown) => {
        const problems = refused(document as Document);
        if (problems.length > 0) throw new ConfigError(problems);
        const reason = cannotBuild(document as Document);
        if (reason !== undefined) throw new Error(reason);
        applied.push(document as Document);
      },
    };
  }
  const hasFile = (document: Document): string | undefined => (JSON.stringify(document).includes('/nothing') ? 'ENOENT: no such file' : undefined);

  test('whole, when nothing is wrong; and not again, when nothing is new', async () => {
    const { apply, applied } = proxy(() => []);
    assert.deepEqual(await putInForce(good, { sources: {} }, undefined, apply), { document: good, rejections: [] });
    await putInForce(structuredClone(good), { sources: {} }, good, apply);
    assert.equal(applied.length, 1);
  });

  test('without an upstream that is bad, and without the routes that need it', async () => {
    const next = { ...good, routes: [...(good['routes'] as object[]), route('c', { upstream: 'fresh' })], upstreams: { ...(good['upstreams'] as object), fresh: { endpoints: 7 } } };
    const { apply, applied } = proxy((document) => {
      const upstreams = document['upstreams'] as Record<string, { endpoints: unknown }>;
      return [
        ...Object.entries(upstreams).flatMap(([name, { endpoints }]) => (Array.isArray(endpoints) ? [] : [bad(`upstreams.${name}.endpoints`)])),
        ...(document['routes'] as { upstream: string }[]).flatMap(({ upstream }, index) => (upstream in upstreams ? [] : [bad(`routes[${index}].upstream`)])),
      ];
    });
    const changed = { ...next, inbound: { rateLimit: { max: 1 } } };
    const { rejections } = await putInForce(changed, { sources: {} }, good, apply);
    assert.deepEqual(applied, [{ ...good, inbound: { rateLimit: { max: 1 } } }]);
    assert.deepEqual(rejections.map(({ path }) => path), ['upstreams.fresh', 'routes[2]']);
  });

  test('without the one resource that cannot be built, wherever it is, and with all others', async () => {
    const jwt = { issuer: 'i', jwks: '/nothing' };
    const next = { ...good, routes: [route('a', { jwt }), route('b', { upstream: 'old', jwt }), route('c')], upstreams: { ...(good['upstreams'] as object), more: { endpoints: [] } } };
    const sources = { 'routes[0].jwt': 'Policy/tokens', 'routes[1].jwt': 'Policy/tokens', 'routes[0]': 'Route/a', 'routes[1]': 'Route/b', 'routes[2]': 'Route/c' };
    const { apply, applied } = proxy(() => [], hasFile);
    const { rejections } = await putInForce(next, { sources }, good, apply);
    assert.deepEqual(applied, [{ ...next, routes: [...(good['routes'] as object[]), route('c')] }]);
    assert.deepEqual(rejections.map(({ path, resource }) => [path, resource]), [['routes[0]', 'Policy/tokens'], ['routes[1]', 'Policy/tokens']]);
    assert.match(rejections[0]!.reason, /ENOENT/);
  });

  test('a new route that cannot be built is not served unguarded', async () => {
    const next = { ...good, routes: [...(good['routes'] as object[]), route('c', { jwt: { jwks: '/nothing' } })], inbound: {} };
    const { apply, applied } = proxy(() => [], hasFile);
    await putInForce(next, { sources: { 'routes[2].jwt': 'Policy/tokens', 'routes[2]': 'Route/c' } }, good, apply);
    assert.deepEqual(applied[0]!['routes'], good['routes']);
  });

  test('not at all when that is all that changed: the reason names the resource, and nothing is touched', async () => {
    const next = { ...good, inbound: { jwt: { jwks: '/nothing' } } };
    const { apply, applied } = proxy(() => [], hasFile);
    await assert.rejects(putInForce(next, { sources: { 'inbound.jwt': 'Policy/tokens' } }, good, apply), /^Error: Policy\/tokens: inbound\.jwt: ENOENT/);
    assert.deepEqual(applied, []);
  });

  test('not at all when parts that are bad each in its way are all that changed: the reason names them all', async () => {
    const next = { ...good, inbound: { jwt: { jwks: '/nothing' } }, routes: [...(good['routes'] as object[]), route('c', { timeout: 7 })] };
    const { apply } = proxy((document) => (JSON.stringify(document).includes('"timeout":7') ? [bad('routes[2].timeout')] : []), hasFile);
    await assert.rejects(putInForce(next, { sources: { 'inbound.jwt': 'Policy/tokens' } }, good, apply), (error: NothingLeft) => {
      assert.deepEqual(error.rejections.map(({ path, resource }) => [path, resource]), [['inbound.jwt', 'Policy/tokens'], ['routes[2]', undefined]]);
      return true;
    });
  });

  test('not at all when it cannot be told what is wrong', async () => {
    const { apply } = proxy(() => [], () => 'out of memory');
    await assert.rejects(putInForce({ ...good, inbound: {}, routes: [] }, { sources: {} }, good, apply), /out of memory/);
  });
});
