import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exchange, request, response } from '../../../tests/support/policy.js';
import { headersSchema } from '../../config/shaping.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { HttpRequest } from '../../http/message.js';
import { headerChanges } from './header-changes.js';

const config = headersSchema.parse({
  request: { remove: ['X-Debug'], set: { 'X-Tier': 'gold' }, add: { 'X-Trail': 'edge' } },
  response: { remove: ['server'], set: { 'Cache-Control': 'no-store' }, add: { 'Set-Cookie': 'b=2' } },
});

test('removes, sets and adds fields, of the request and of its answer', async () => {
  let sent: HttpRequest | undefined;
  const service = headerChanges(config)((passed) => {
    sent = passed;
    return Promise.resolve(response(200, { Server: 'x', 'Cache-Control': 'public', 'Set-Cookie': 'a=1' }));
  });
  const over = exchange();
  const { headers } = await service(request(over, { fields: { 'x-debug': '1', 'x-tier': 'free', 'x-trail': 'client' } }), over);
  assert.deepEqual([...sent!.headers], [['x-tier', 'gold'], ['x-trail', 'client'], ['x-trail', 'edge']]);
  assert.deepEqual([...headers], [['cache-control', 'no-store'], ['set-cookie', 'a=1'], ['set-cookie', 'b=2']]);
});

test('passes an error on as it is', async () => {
  const over = exchange();
  await assert.rejects(headerChanges(config)(() => Promise.reject(new ProxyError('no_endpoint')))(request(over), over), { code: 'no_endpoint' });
});
