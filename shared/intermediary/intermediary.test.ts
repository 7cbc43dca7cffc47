import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { exchange, request, response } from '../../tests/support/policy.js';
import { ProxyError } from '../errors/proxy-error.js';
import type { HttpRequest } from '../http/message.js';
import { maxForwards } from './max-forwards.js';
import { via } from './via.js';

describe('via', () => {
  test('adds the version that was received and our name, behind those before', async () => {
    for (const [version, expected] of [['1.0', '1.0 edge'], ['1.1', '1.1 edge'], ['2', '2 edge']] as const) {
      const over = exchange();
      over.httpVersion = version;
      const sent = request(over, { fields: { Via: '1.0 first' } });
      await via('edge')(() => Promise.resolve(response(200)))(sent, over);
      assert.deepEqual(sent.headers.getAll('via'), ['1.0 first', expected]);
    }
  });
});

describe('maxForwards', () => {
  async function run(method: string, value: string | undefined): Promise<{ forwarded?: string | undefined; status?: number; allow?: string | undefined; code?: string }> {
    const over = exchange();
    let passed: HttpRequest | undefined;
    const service = maxForwards((forwarded) => {
      passed = forwarded;
      return Promise.resolve(response(200));
    });
    try {
      const answer = await service(request(over, { method, fields: value === undefined ? {} : { 'Max-Forwards': value } }), over);
      return passed === undefined ? { status: answer.status, allow: answer.headers.get('allow') } : { forwarded: passed.headers.get('max-forwards') };
    } catch (error) {
      return { code: (error as ProxyError).code };
    }
  }

  const allow = 'GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE';
  const cases: readonly (readonly [name: string, method: string, value: string | undefined, expected: object])[] = [
    ['counts OPTIONS down', 'OPTIONS', '3', { forwarded: '2' }],
    ['counts TRACE down', 'TRACE', '1', { forwarded: '0' }],
    ['answers OPTIONS at zero by itself', 'OPTIONS', '0', { status: 204, allow }],
    ['refuses TRACE at zero', 'TRACE', '0', { code: 'method_refused' }],
    ['refuses what is no number', 'OPTIONS', 'many', { code: 'bad_request' }],
    ['refuses a negative number', 'TRACE', '-1', { code: 'bad_request' }],
    ['leaves requests without it alone', 'OPTIONS', undefined, { forwarded: undefined }],
    ['leaves other methods alone', 'GET', '0', { forwarded: '0' }],
  ];
  for (const [name, method, value, expected] of cases) test(name, async () => assert.deepEqual(await run(method, value), expected));
});
