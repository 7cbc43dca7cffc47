import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exchange, request } from '../../../tests/support/policy.js';
import { redirectSchema, respondSchema } from '../../config/shaping.js';
import { parseTarget } from '../../http1/target.js';
import { redirect, respond } from './fixed-answer.js';

describe('redirect', () => {
  const cases: readonly (readonly [name: string, config: object, matched: string, target: string, expected: string, authority?: string, fields?: Record<string, string>])[] = [
    ['another scheme, and then its own port', { scheme: 'https' }, '/', '/a?b=c', 'https://shop/a?b=c', 'shop:8080'],
    ['another host, and then the port that is said', { host: 'new.example:8443' }, '/', '/a', 'http://new.example:8443/a', 'shop:8080'],
    ['another host, with the scheme that a proxy in front speaks', { host: 'new.example' }, '/', '/a', 'https://new.example/a', 'shop', { 'x-forwarded-proto': 'https' }],
    ['an IPv6 address', { scheme: 'https' }, '/', '/a', 'https://[::1]/a', '[::1]:80'],
    ['another path, on the host that was asked', { path: '/new' }, '/old', '/old/x?y', '/new?y'],
    ['another path, without the query', { path: '/new', query: 'drop' }, '/old', '/old/x?y', '/new'],
    ['another prefix', { prefix: '/new' }, '/old', '/old/x/y?z', '/new/x/y?z'],
    ['no prefix', { prefix: '/' }, '/old', '/old?z', '/?z'],
    ['never another host by way of the path', { prefix: '/' }, '/old', '/old//evil.example/x', '/evil.example/x'],
    ['the path alone for a client that names no host', { scheme: 'https' }, '/', '/a', '/a', ''],
    ['the root for a request about the server as a whole', { scheme: 'https' }, '/', '*', 'https://shop/'],
  ];
  for (const [name, config, matched, target, expected, authority = 'shop', fields = {}] of cases) {
    test(`leads to ${name}`, async () => {
      const over = exchange();
      const parsed = parseTarget(target, 'OPTIONS');
      const answer = await redirect(redirectSchema.parse(config), matched)(request(over, { target: parsed.target, path: parsed.path, authority, fields }), over);
      assert.deepEqual([answer.status, answer.headers.get('location'), answer.headers.get('content-length')], [302, expected, '0']);
    });
  }
});

describe('respond', () => {
  test('answers with its text, and each answer has fields of its own', async () => {
    const over = exchange();
    const service = respond(respondSchema.parse({ status: 503, body: 'à bientôt' }));
    const first = await service(request(over), over);
    first.headers.set('X-First', '1');
    const { status, headers, body } = await service(request(over), over);
    assert.deepEqual([status, headers.toObject(), String(body.whole!.bytes)], [503, { 'content-type': 'text/plain; charset=utf-8', 'content-length': '11' }, 'à bientôt']);
  });

  test('an answer that can have no body says nothing of its length', async () => {
    const over = exchange();
    assert.deepEqual((await respond(respondSchema.parse({ status: 204 }))(request(over), over)).headers.toObject(), {});
  });
});
