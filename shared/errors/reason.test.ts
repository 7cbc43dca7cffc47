import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reasonOf } from './reason.js';

const cases: readonly (readonly [name: string, cause: unknown, expected: string | undefined])[] = [
  ['its message', new Error('a malformed field'), 'a malformed field'],
  ['its code once', Object.assign(new Error('connect ECONNREFUSED 127.0.0.1:1'), { code: 'ECONNREFUSED' }), 'connect ECONNREFUSED 127.0.0.1:1'],
  ['its code and its message', Object.assign(new Error('certificate has expired'), { code: 'CERT_HAS_EXPIRED', cert: { raw: Buffer.alloc(9) } }), 'CERT_HAS_EXPIRED: certificate has expired'],
  ['its code alone, where several addresses were tried', Object.assign(new AggregateError([]), { code: 'ECONNREFUSED' }), 'ECONNREFUSED'],
  ['no more than the beginning', new Error('x'.repeat(9_999)), 'x'.repeat(200)],
  ['nothing of what is no error', { message: 'none' }, undefined],
  ['nothing where there is none', undefined, undefined],
];
for (const [name, cause, expected] of cases) test(`of a cause the log tells ${name}`, () => assert.equal(reasonOf(new Error('failed', { cause })), expected));
