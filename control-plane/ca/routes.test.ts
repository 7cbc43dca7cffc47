import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, test } from 'node:test';
import Fastify, { type FastifyInstance } from 'fastify';
import { exportJWK, SignJWT } from 'jose';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { createSigningRequest } from '../../shared/identity/signing-request.js';
import { ApiError } from '../api/problem.js';
import { validateWithZod } from '../api/validation.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { testMeshAuthority } from '../../tests/support/mesh-authority.js';
import type { CertificateAuthority, Issuance } from './certificate-authority.js';
import { Refusal } from './refusal.js';
import { certificateRoutes } from './routes.js';
import { memoryDocument } from './state.js';
import { openWorkloads } from './workloads.js';

const open: (() => Promise<unknown>)[] = [];
afterEach(() => Promise.all(open.splice(0).map((close) => close())));

const admin = { authorization: 'Bearer admin' };

async function serve(authority: CertificateAuthority, results: string[] = []): Promise<{ api: FastifyInstance; url: string }> {
  const api = Fastify();
  open.push(() => api.close(), () => authority.close());
  validateWithZod(api);
  api.addHook('onRequest', async (request) => {
    if (request.routeOptions.config.need === 'write' && request.headers.authorization !== admin.authorization) throw new ApiError(401, 'unauthenticated', 'Who is it?');
  });
  await api.register(certificateRoutes({ authority, logger: silentLogger, onResult: (result) => results.push(result) }));
  await api.listen({ host: '127.0.0.1', port: 0 });
  return { api, url: `http://127.0.0.1:${(api.server.address() as AddressInfo).port}` };
}

describe('the API of certificates', () => {
  test('makes join tokens and rotates for those who may write, and gives certificates to whoever proves his name', async () => {
    const results: string[] = [];
    const audited: Issuance[] = [];
    const { authority } = await testMeshAuthority({ onIssued: (issuance) => audited.push(issuance) });
    const { api } = await serve(authority, results);
    for (const [method, url] of [['POST', '/v1/join-tokens'], ['POST', '/v1/ca/rotate'], ['GET', '/v1/ca']] as const) assert.equal((await api.inject({ method, url, ...(method === 'POST' && { payload: {} }) })).statusCode, 401, url);
    const made = await api.inject({ method: 'POST', url: '/v1/join-tokens', headers: admin, payload: { service: 'orders', namespace: 'shop', ttl: '1m' } });
    assert.deepEqual([made.statusCode, made.headers['cache-control']], [201, 'no-store']);
    const { csr } = await createSigningRequest(undefined);
    const payload = { csr, proof: { kind: 'joinToken', token: (made.json<{ token: string }>()).token } };
    const first = await api.inject({ method: 'POST', url: '/v1/certificates', payload });
    const { name, certificate, lifetimeMs } = first.json<{ name: string; certificate: string; lifetimeMs: number }>();
    assert.deepEqual([first.statusCode, name, new X509Certificate(certificate).subjectAltName, lifetimeMs], [201, 'spiffe://shop.internal/ns/shop/sa/orders', 'URI:spiffe://shop.internal/ns/shop/sa/orders', 86_400_000]);
    const second = await api.inject({ method: 'POST', url: '/v1/certificates', payload });
    assert.deepEqual([second.statusCode, second.json<{ code: string }>().code], [403, 'proof_used']);
    assert.deepEqual(results, ['issued', 'proof_used']);
    assert.deepEqual(audited.map(({ name: whose, proof, client }) => [whose, proof, client]), [[name, 'joinToken', '127.0.0.1']]);
    assert.doesNotMatch((await api.inject({ url: '/v1/ca', headers: admin })).body, /PRIVATE|"key"/);
  });

  test('is limited for each address', async () => {
    const results: string[] = [];
    const { authority } = await testMeshAuthority({ config: { requestsPerMinute: 3 } });
    const { api } = await serve(authority, results);
    const statuses: number[] = [];
    for (let n = 0; n < 4; n++) statuses.push((await api.inject({ method: 'POST', url: '/v1/certificates', payload: {} })).statusCode);
    assert.deepEqual(statuses, [422, 422, 422, 429]);
    assert.deepEqual(results, ['invalid', 'invalid', 'invalid', 'limited']);
    assert.equal((await api.inject({ url: '/v1/trust-bundle' })).statusCode, 200, 'the bundle is not');
  });

  test('is passed on to the leader, and refused for the moment where there is none', async () => {
    const clock = new FakeClock();
    const document = memoryDocument();
    const leader = await testMeshAuthority({ clock, document });
    const { api: leading, url } = await serve(leader.authority);
    const leadership = { isLeader: false, leader: url as string | undefined };
    const follower = await testMeshAuthority({ clock, document, leadership });
    const { api, url: followerUrl } = await serve(follower.authority);
    const made = await api.inject({ method: 'POST', url: '/v1/join-tokens', headers: admin, payload: { service: 'orders' } });
    assert.equal(made.statusCode, 201, made.body);
    assert.equal((await api.inject({ method: 'POST', url: '/v1/join-tokens', payload: { service: 'orders' } })).statusCode, 401);
    const { csr } = await createSigningRequest(undefined);
    const payload = { csr, proof: { kind: 'joinToken', token: (made.json<{ token: string }>()).token } };
    assert.equal((await api.inject({ method: 'POST', url: '/v1/certificates', payload })).statusCode, 201);
    const used = await api.inject({ method: 'POST', url: '/v1/certificates', payload });
    assert.deepEqual([used.statusCode, used.headers['content-type'], used.json<{ code: string }>().code], [403, 'application/problem+json; charset=utf-8', 'proof_used']);
    // What the leader did, the follower shows as soon as it has looked.
    await api.inject({ method: 'POST', url: '/v1/ca/rotate', headers: admin, payload: {} });
    await follower.authority.keeper.step();
    assert.equal((await api.inject({ url: '/v1/trust-bundle' })).body, (await leading.inject({ url: '/v1/trust-bundle' })).body);
    // Two that take each other for the leader do not pass it on for ever.
    for (const next of [followerUrl, undefined, 'http://127.0.0.1:1']) {
      leadership.leader = next;
      const { statusCode, headers, body } = await api.inject({ method: 'POST', url: '/v1/certificates', payload });
      assert.deepEqual([statusCode, headers['retry-after'], (JSON.parse(body) as { code: string }).code], [503, '2', 'not_leader'], next ?? 'none');
    }
  });
});

describe('workload tokens', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const issuer = { issuer: 'https://platform', audience: 'mesh', jwksUri: 'https://platform/keys', algorithms: ['ES256' as const], subjects: {}, fetchTimeout: 1_000, template: 'sa:{service}', jwks: undefined };
  const token = (sub: string, aud: string): Promise<string> => new SignJWT({ sub }).setProtectedHeader({ alg: 'ES256', kid: 'k' }).setIssuer('https://platform').setAudience(aud).setExpirationTime(Math.floor(Date.UTC(2026, 0, 1) / 1_000) + 3_600).sign(privateKey);
  const keys = async (): Promise<unknown> => ({ keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg: 'ES256' }] });
  const options = { trustDomain: 'shop.internal', clock: new FakeClock(), skewMs: 0, identities: () => [] };

  test('are checked with the keys that their issuer publishes, and wait for them', async () => {
    let isThere = false;
    const workloads = await openWorkloads([issuer], { ...options, clock: new FakeClock(), fetchJson: async () => (isThere ? keys() : Promise.reject(new Error('away'))) });
    await assert.rejects(workloads.verify(await token('sa:orders', 'mesh')), (error) => error instanceof Refusal && error.code === 'keys_unavailable' && error.status === 503);
    isThere = true;
    const later = await openWorkloads([issuer], { ...options, fetchJson: keys });
    assert.deepEqual((await later.verify(await token('sa:orders', 'mesh'))).name, { trustDomain: 'shop.internal', namespace: 'default', service: 'orders' });
  });

  test('are known by Identity resources too, which go first and may have an audience of their own', async () => {
    const identities = [{ service: 'billing', namespace: 'money', workload: { issuer: 'https://platform', subject: 'sa:orders', audience: 'special' } }, { service: 'cart', workload: { issuer: 'https://platform', subject: 'robot-7' } }];
    const workloads = await openWorkloads([issuer], { ...options, fetchJson: keys, identities: () => identities });
    const nameOf = async (sub: string, aud: string): Promise<string> => (({ namespace, service }) => `${namespace}/${service}`)((await workloads.verify(await token(sub, aud))).name);
    assert.equal(await nameOf('sa:orders', 'special'), 'money/billing');
    assert.equal(await nameOf('sa:orders', 'mesh'), 'default/orders');
    assert.equal(await nameOf('robot-7', 'mesh'), 'default/cart');
    await assert.rejects(nameOf('robot-7', 'special'), /another audience/);
    await assert.rejects(nameOf('robot-8', 'mesh'), /not that of any service/);
  });
});
