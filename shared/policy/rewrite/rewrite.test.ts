import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { rewriteSchema } from '../../config/shaping.js';
import type { ProxyError } from '../../errors/proxy-error.js';
import type { HttpRequest } from '../../http/message.js';
import { parseTarget } from '../../http1/target.js';
import { rewrite } from './rewrite.js';

/** What the upstream of a route for `matched` gets of a target as a client spells it; or the code of the refusal. */
async function run(config: object, matched: string, target: string, method = 'GET'): Promise<HttpRequest | string> {
  const over = exchange();
  let passed: HttpRequest | undefined;
  const service = rewrite(rewriteSchema.parse(config), matched)((sent) => {
    passed = sent;
    return Promise.resolve(response(200));
  });
  const { target: normalised, path } = parseTarget(target, method);
  return service(request(over, { method, target: normalised, path, authority: 'shop', fields: { Host: 'shop' } }), over).then(
    () => passed!,
    (error: unknown) => (error as ProxyError).code,
  );
}

describe('rewrite', () => {
  const item = { pattern: '^/items?/([^/]+)', substitution: '/v2/item/$1' };
  const cases: readonly (readonly [name: string, config: object, matched: string, target: string, expected: string])[] = [
    ['replaces the prefix', { prefix: '/v2' }, '/api', '/api/orders/7', '/v2/orders/7'],
    ['replaces a prefix that is the whole path', { prefix: '/v2' }, '/api', '/api', '/v2'],
    ['keeps a slash at the end', { prefix: '/v2' }, '/api', '/api/', '/v2/'],
    ['keeps the query, whatever is in it', { prefix: '/v2' }, '/api', '/api/x?a=/api/../b&c=%2F', '/v2/x?a=/api/../b&c=%2F'],
    ['keeps a query right behind the prefix', { prefix: '/v2' }, '/api', '/api?a=1/2', '/v2?a=1/2'],
    ['removes the prefix', { prefix: '/' }, '/api', '/api/orders', '/orders'],
    ['removes the whole path but a slash', { prefix: '/' }, '/api', '/api?x', '/?x'],
    ['puts a prefix before everything', { prefix: '/v2' }, '/', '/orders', '/v2/orders'],
    ['makes one slash where two would meet', { prefix: '/v2/' }, '/api/', '/api/orders', '/v2/orders'],
    ['replaces a prefix of several segments', { prefix: '/x' }, '/a/b', '/a/b/c/d', '/x/c/d'],
    ['sees an encoded prefix as what it is', { prefix: '/v2' }, '/api', '/%61pi/x', '/v2/x'],
    ['leaves what must stay encoded as it is', { prefix: '/v2' }, '/api', '/api/caf%c3%a9%20x', '/v2/caf%C3%A9%20x'],
    ['sees repeated slashes as one', { prefix: '/v2' }, '/api', '//api///x', '/v2/x'],
    ['cannot be climbed out of', { prefix: '/v2/tenant' }, '/api', '/api/x/../../api/../api/y', '/v2/tenant/y'],
    ['cannot be climbed out of with escapes', { prefix: '/v2/tenant' }, '/api', '/api/x/%2e%2e/y', '/v2/tenant/y'],
    ['drops the parameters of what it replaces, and keeps the others', { prefix: '/v2' }, '/api', '/api;v=1/x;y=2', '/v2/x;y=2'],
    ['replaces the whole path', { path: '/maintenance.html' }, '/', '/a/b/c?d=e', '/maintenance.html?d=e'],
    ['replaces what a pattern finds', { regex: item }, '/', '/item/42/details?x=/item/1', '/v2/item/42/details?x=/item/1'],
    ['leaves a path alone in which a pattern finds nothing', { regex: item }, '/', '/other?x', '/other?x'],
    ['replaces the first of several places', { regex: { pattern: 'a', substitution: 'b' } }, '/', '/xaxa', '/xbxa'],
    ['takes a group that matched nothing for empty', { regex: { pattern: '^/(a)?b', substitution: '/x$1y$9' } }, '/', '/b', '/xy'],
    ['makes one slash of two that a group brought together', { regex: { pattern: '^/a(/.*)', substitution: '/$1' } }, '/', '/a/b', '/b'],
    ['normalises what a pattern puts together', { regex: { pattern: '%(.)(.)', substitution: 'x%41' } }, '/', '/%20', '/xA'],
    ['never matches the query', { regex: { pattern: 'secret', substitution: 'open' } }, '/', '/a?secret', '/a?secret'],
  ];
  for (const [name, config, matched, target, expected] of cases) {
    test(name, async () => assert.equal(((await run(config, matched, target)) as HttpRequest).target, expected));
  }

  const refusals: readonly (readonly [name: string, config: object, target: string, code: string])[] = [
    ['a dot segment that a pattern puts together', { regex: { pattern: '^/a(.)b(.)', substitution: '/$1$2' } }, '/a.b./secret', 'bad_request'],
    ['a dot segment with parameters', { regex: { pattern: '^/a(.)b', substitution: '/$1.;x' } }, '/a.b/secret', 'bad_request'],
    ['half an escape', { regex: { pattern: '^/(.{2})(.*)', substitution: '/$1' } }, '/%20', 'bad_request'],
    ['a slash that two groups encode together', { regex: { pattern: '^/(%2)0(.)', substitution: '/$1$2' } }, '/%20F', 'bad_request'],
    ['a path that does not start with a slash', { regex: { pattern: '^/a', substitution: 'b' } }, '/a', 'bad_request'],
    ['a path that grows too long', { regex: { pattern: '^/(.*)', substitution: '/$1$1$1$1$1$1$1$1' } }, `/${'x'.repeat(2_000)}`, 'target_too_long'],
  ];
  for (const [name, config, target, code] of refusals) {
    test(`refuses ${name}`, async () => assert.equal(await run(config, '/', target), code));
  }

  test('leaves the request about the server as a whole alone', async () => {
    assert.equal(((await run({ prefix: '/v2' }, '/', '*', 'OPTIONS')) as HttpRequest).target, '*');
  });

  test('changes the host, and nothing that routes and policies look at', async () => {
    const sent = (await run({ host: 'inventory.internal:8080' }, '/', '/a')) as HttpRequest;
    assert.deepEqual([sent.authority, sent.headers.getAll('host'), sent.target], ['inventory.internal:8080', ['inventory.internal:8080'], '/a']);
    assert.equal(((await run({ prefix: '/v2' }, '/api', '/api/x')) as HttpRequest).path, '/api/x');
  });

  test('takes time that grows with the length of a path, whatever the pattern', async () => {
    const target = `/${'a'.repeat(8_000)}!`;
    for (const pattern of ['^/(a+)+$', '^/(a|a)*b', '^/(.*)(.*)(.*)(.*)x']) {
      const startedAt = performance.now();
      await run({ regex: { pattern, substitution: '/' } }, '/', target);
      // A backtracking matcher would not come back within the age of the universe.
      assert.ok(performance.now() - startedAt < 5_000, pattern);
    }
  });
});
