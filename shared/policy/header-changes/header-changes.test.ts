import assert from 'node:assert/strict';
import { test } from 'node:test';
import { endingWith, exchange, request, response, trailersOf } from '../../../tests/support/policy.js';
import { headersSchema } from '../../config/shaping.js';
import { ProxyError } from '../../errors/proxy-error.js';
import type { Headers } from '../../http/headers.js';
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

const spellings: readonly (readonly [name: string, changes: object, sent: Readonly<Record<string, string>>, left: Readonly<Record<string, string>>])[] = [
  ['of what is set', { set: { 'X-Tenant-Id': 'public' } }, { X_Tenant_Id: 'a', 'X-Tenant_id': 'b', 'x_tenant-ID': 'c', X_Other: '1' }, { x_other: '1', 'x-tenant-id': 'public' }],
  ['of what is removed', { remove: ['X-Internal'] }, { X_Internal: '1', 'X-Internal': '1', X_Other: '1' }, { x_other: '1' }],
  ['with - of what is set with _', { set: { X_Tenant: 'public' } }, { 'X-Tenant': 'a', X_Tenant: 'b' }, { x_tenant: 'public' }],
  ['but not - of what is removed with _', { remove: ['X_Internal-Id'] }, { 'X-Internal-Id': '1', 'X_Internal-Id': '2', 'X-Internal_Id': '3' }, { 'x-internal-id': '1' }],
  ['and not what is set in both', { set: { 'X-Tenant': 'a', X_Tenant: 'b' } }, { X_Tenant: 'c' }, { x_tenant: 'b', 'x-tenant': 'a' }],
  ['and nothing of what is added', { add: { 'X-Trail': 'edge' } }, { X_Trail: 'client' }, { x_trail: 'client', 'x-trail': 'edge' }],
];
for (const [name, changes, fields, left] of spellings) {
  test(`a request loses other spellings ${name}`, async () => {
    const over = exchange();
    const sent = request(over, { fields });
    await headerChanges(headersSchema.parse({ request: changes }))(() => Promise.resolve(response(200)))(sent, over);
    assert.deepEqual(sent.headers.toObject(), left);
  });
}

test('an answer keeps other spellings', async () => {
  const over = exchange();
  const service = headerChanges(headersSchema.parse({ response: { remove: ['X-Debug'] } }))(() => Promise.resolve(response(200, { X_Debug: '1', 'X-Debug': '1' })));
  assert.deepEqual((await service(request(over), over)).headers.toObject(), { x_debug: '1' });
});

test('what is removed or set is no trailer, of the request or of its answer; what is added may be', async () => {
  const over = exchange();
  let sent: Promise<Headers | undefined> | undefined;
  const service = headerChanges(config)((passed) => {
    sent = trailersOf(passed.body);
    return Promise.resolve({ ...response(200), body: endingWith({ Server: 'x', 'X-Sum': '1', 'cache-control': 'public', 'Set-Cookie': 'a=1' }) });
  });
  const answer = await service(request(over, { body: endingWith({ 'X-Debug': '1', X_Tier: 'free', 'x-tier': 'free', 'X-Sum': '2' }) }), over);
  assert.deepEqual((await sent)?.toObject(), { 'x-sum': '2' });
  assert.deepEqual((await trailersOf(answer.body))?.toObject(), { 'x-sum': '1', 'set-cookie': 'a=1' });
});

test('whoever removes a field with _ leaves the trailer with -', async () => {
  const over = exchange();
  const service = headerChanges(headersSchema.parse({ request: { remove: ['X_Internal-Id'] } }))((passed) => Promise.resolve({ ...response(200), body: passed.body }));
  const answer = await service(request(over, { body: endingWith({ 'X-Internal-Id': '1', 'X_Internal-Id': '2', 'X-Internal_Id': '3' }) }), over);
  assert.deepEqual((await trailersOf(answer.body))?.toObject(), { 'x-internal-id': '1' });
});

test('trailers of which nothing is left are none', async () => {
  const over = exchange();
  const service = headerChanges(config)((passed) => Promise.resolve({ ...response(200), body: passed.body }));
  const answer = await service(request(over, { body: endingWith({ 'X-Debug': '1' }) }), over);
  assert.equal(await trailersOf(answer.body), undefined);
});

test('passes an error on as it is', async () => {
  const over = exchange();
  await assert.rejects(headerChanges(config)(() => Promise.reject(new ProxyError('no_endpoint')))(request(over), over), { code: 'no_endpoint' });
});
