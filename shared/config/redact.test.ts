import assert from 'node:assert/strict';
import { test } from 'node:test';
import { redact } from './redact.js';

test('values that a route sets in fields for secrets are not shown, the others are', () => {
  const set = { Authorization: 'Bearer abc', 'X-Api-Key': 'abc', 'X-Tier': 'gold' };
  assert.deepEqual(redact({ headers: { request: { set } }, sticky: { cookie: 'side' } }), {
    headers: { request: { set: { Authorization: '[redacted]', 'X-Api-Key': '[redacted]', 'X-Tier': 'gold' } } },
    sticky: { cookie: 'side' },
  });
});

test('what a field for secrets is set to or compared with is not shown, whatever its name is made of', () => {
  const secret = [
    'Authorization', 'proxy-authorization', 'Cookie', 'set-cookie', 'x-auth', 'x-auth-user', 'x-api-key', 'x-goog-api-key', 'apikey', 'x-functions-key', 'x-key', 'x-amz-security-token', 'x-token-id',
    'x-secret', 'x-password', 'x-credential', 'x-signature', 'x-hub-signature-256',
  ];
  const harmless = ['x-tier', 'Idempotency-Key', 'surrogate-key', 'access-control-allow-credentials', 'www-authenticate', 'x-author', 'x-keyboard', 'user-agent', 'd', 'k'];
  const [hidden, shown] = ['[redacted]', 'value'] as const;
  const names = [...secret, ...harmless];
  const entry = (name: string, value: unknown): [string, unknown] => [name, value];
  const plain = (values: (of: string) => unknown): object => Object.fromEntries(names.map((name) => entry(name, values(shown))));
  const fields = (values: (of: string) => unknown): object => Object.fromEntries(names.map((name) => entry(name, values(secret.includes(name) ? hidden : shown))));
  for (const values of [(of: string) => of, (of: string) => ({ exact: of }), (of: string) => ({ prefix: of }), (of: string) => ({ regex: of }), () => ({ present: true })]) {
    assert.deepEqual(redact({ match: { headers: plain(values) } }), { match: { headers: fields(values) } });
  }
  for (const direction of ['request', 'response']) {
    const around = (inside: object): object => ({ headers: { [direction]: { set: inside, add: inside, remove: ['cookie', 'x-api-key'] } } });
    assert.deepEqual(redact(around(plain((of) => of))), around(fields((of) => of)));
  }
});

test('names of cookies and of fields, and what limits count by, are shown', () => {
  const document = { sticky: { cookie: 'side' }, hash: { header: 'x-api-key' }, rateLimit: { key: 'ip' }, tls: { key: 'us.key', cert: 'us.crt' } };
  assert.deepEqual(redact(document), document);
});

test('nor what cookies and query parameters for secrets are compared with, in either form', () => {
  const conditions = (value: unknown): object => ({ match: { cookies: { session: value, access_token: value, beta: '1' }, query: { api_key: value, token: value, page: { exact: '2' } } } });
  for (const value of ['abc', { exact: 'abc' }, { prefix: 'abc' }]) assert.deepEqual(redact(conditions(value)), conditions(typeof value === 'string' ? '[redacted]' : Object.fromEntries(Object.keys(value).map((key) => [key, '[redacted]']))));
});

test('secrets are cut out of addresses', () => {
  const cases = [
    ['redis://user:pass@host:1/0', 'redis://[redacted]@host:1/0'], ['https://u:p@ss@w@host/x', 'https://[redacted]@host/x'], ['https://host/x@y', 'https://host/x@y'],
    ['/health?token=abc&full=1', '/health?token=[redacted]&full=1'], ['https://host/jwks?v=1&api_key=abc#x', 'https://host/jwks?v=1&api_key=[redacted]#x'], ['/a?b=c', '/a?b=c'],
  ] as const;
  for (const [text, shown] of cases) assert.equal(redact(text), shown);
});
