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
