import assert from 'node:assert/strict';
import { generateKeyPairSync, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { exportJWK, SignJWT } from 'jose';
import { freePort } from '../../scenarios/lab/free-port.js';
import { createSigningRequest } from '../../shared/identity/signing-request.js';
import { TestMesh } from '../support/mesh.js';
import { until } from '../support/until.js';
import { portIn, type TestProcess } from '../support/process.js';

const certificateIn = (directory: string): X509Certificate => new X509Certificate(readFileSync(join(directory, 'identity.pem')));
const inForce = (process: TestProcess, count = 1): Promise<Record<string, unknown>> => process.logged('a certificate is in force', count);

/** Passes everything on to the control plane, and keeps what the proxy sent. */
async function wiretap(port: () => number): Promise<{ url: string; sent: () => string; close: () => Promise<void> }> {
  let sent = '';
  const server: Server = createServer((socket) => {
    const upstream = connect(port(), '127.0.0.1');
    socket.on('data', (data: Buffer) => (sent += data.toString('latin1')));
    socket.pipe(upstream).pipe(socket);
    for (const side of [socket, upstream]) side.on('error', () => {}).on('close', () => (socket.destroy(), upstream.destroy()));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sent: () => sent, close: () => new Promise((resolve) => server.close(() => resolve())) };
}

describe('enrolment with a join token', () => {
  const mesh = new TestMesh();
  before(() => mesh.start());
  after(() => mesh.close());

  test('gives a sidecar its certificate, in files that are its alone', async () => {
    const directory = mesh.newDirectory();
    const sidecar = mesh.sidecar('orders', { directory, joinTokenFile: mesh.file(await mesh.joinToken('orders')) });
    await sidecar.logged('ready');
    const certificate = certificateIn(directory);
    assert.equal(certificate.subjectAltName, 'URI:spiffe://shop.internal/ns/default/sa/orders');
    assert.ok(certificate.verify(new X509Certificate(readFileSync(join(directory, 'bundle.pem'))).publicKey));
    assert.deepEqual([directory, join(directory, 'identity.pem')].map((path) => statSync(path).mode & 0o777), [0o700, 0o600]);
    const metrics = await (await fetch(`http://127.0.0.1:${portIn(await sidecar.logged('ready'), 'admin')}/metrics`)).text();
    assert.match(metrics, new RegExp(`^proxy_identity_expires_timestamp_seconds ${Date.parse(certificate.validTo) / 1_000}$`, 'm'));
    assert.match(metrics, /^proxy_identity_renewals_total\{result="renewed"\} 1$/m);
    assert.match((await mesh.ask('GET', '/metrics')).body['text'] as string, /^control_plane_certificates_issued_total\{result="issued"\} \d+$/m);
    await sidecar.stop();
  });

  test('a token that was used, or is for another service, gets nothing; a new one in the file does', async () => {
    const token = await mesh.joinToken('orders');
    const first = mesh.sidecar('orders', { directory: mesh.newDirectory(), joinTokenFile: mesh.file(token) });
    await inForce(first);
    const file = mesh.file(token);
    const directory = mesh.newDirectory();
    const second = mesh.sidecar('orders', { directory, joinTokenFile: file });
    assert.match((await second.logged('there is no certificate yet; trying on'))['reason'] as string, /was used before/);
    // A foreign name is refused before it is used up: it is still good for its own service afterwards.
    const foreign = await mesh.joinToken('billing');
    writeFileSync(file, foreign);
    await until(() => second.stderr.includes('another name than the proof gives'));
    const billing = mesh.sidecar('billing', { directory: mesh.newDirectory(), joinTokenFile: mesh.file(foreign) });
    await inForce(billing);
    writeFileSync(file, await mesh.joinToken('orders'));
    await second.logged('ready');
    assert.equal(certificateIn(directory).subjectAltName, 'URI:spiffe://shop.internal/ns/default/sa/orders');
    await Promise.all([first.stop(), second.stop(), billing.stop()]);
  });

  test('of twenty who use a token at a time one gets a certificate, and none after a kill -9', async () => {
    const token = await mesh.joinToken('orders');
    const { csr } = await createSigningRequest(undefined);
    const use = (): Promise<{ status: number; body: Record<string, unknown> }> => mesh.ask('POST', '/v1/certificates', { csr, proof: { kind: 'joinToken', token } });
    const answers = await Promise.all(Array.from({ length: 20 }, use));
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, ...Array.from({ length: 19 }, () => 403)]);
    await mesh.kill();
    await mesh.start();
    const { status, body } = await use();
    assert.deepEqual([status, body['code']], [403, 'proof_used']);
  });

  test('no key and no token is ever sent where it need not be, logged or shown', async (t) => {
    const tap = await wiretap(() => Number(new URL(mesh.url).port));
    t.after(() => tap.close());
    const token = await mesh.joinToken('orders');
    const directory = mesh.newDirectory();
    const sidecar = mesh.sidecar('orders', { directory, joinTokenFile: mesh.file(token) }, {}, { url: tap.url });
    const admin = `http://127.0.0.1:${portIn(await sidecar.logged('ready'), 'admin')}`;
    const shown = (await Promise.all(['/config', '/metrics', '/upstreams', '/config/schema', '/readyz'].map(async (path) => (await fetch(admin + path)).text()))).join('\n');
    const pem = readFileSync(join(directory, 'identity.pem'), 'utf8');
    const key = /-----BEGIN PRIVATE KEY-----\n([^-]+)-----END/.exec(pem)![1]!;
    await sidecar.stop();
    const authority = JSON.parse(readFileSync(join(mesh.dataDir, 'ca', 'authority.json'), 'utf8')) as { authorities: { key: string }[] };
    const needles = [...secretsOf(key), ...authority.authorities.flatMap((one) => secretsOf(one.key.replace(/-----[^-]+-----/g, '')))];
    const all = { sent: tap.sent(), 'sidecar’s log': sidecar.stderr + sidecar.stdout, 'control plane’s log': mesh.controlPlane.stderr + mesh.controlPlane.stdout, admin: shown };
    for (const [where, text] of Object.entries(all)) {
      assert.doesNotMatch(text, /PRIVATE KEY/, where);
      for (const needle of needles) assert.ok(!text.includes(needle), `a key is in ${where}`);
      assert.equal(text.includes(token), where === 'sent', `the join token in ${where}`);
    }
    assert.match(tap.sent(), /POST \/v1\/certificates/, 'it was looked at at all');
  });

  test('requests that make no sense are refused, and never with a 500', async () => {
    const token = await mesh.joinToken('orders');
    for (const [body, status] of [
      [{}, 422], [{ csr: 'x', proof: { kind: 'joinToken', token } }, 422], [{ csr: 'x', proof: { kind: 'none' } }, 422], [{ csr: 'x'.repeat(20_000), proof: { kind: 'joinToken', token } }, 422],
      [{ csr: 'x'.repeat(70_000), proof: { kind: 'joinToken', token } }, 413],
    ] as const) {
      const answer = await mesh.ask('POST', '/v1/certificates', body);
      assert.equal(answer.status, status, JSON.stringify(answer.body));
      assert.match(answer.headers.get('content-type')!, /problem\+json/);
    }
    for (const body of [{ service: 'Orders' }, { service: 'orders', ttl: '2h' }, { service: 'orders', ttl: '1ms' }, {}]) assert.equal((await mesh.ask('POST', '/v1/join-tokens', body)).status, 422);
  });

  test('the trust bundle is public, in both forms, with a tag', async () => {
    const json = await mesh.ask('GET', '/v1/trust-bundle');
    const { keys, spiffe_refresh_hint: hint, spiffe_sequence: sequence } = json.body as { keys: { use: string; kty: string; crv: string; x5c: string[] }[]; spiffe_refresh_hint: number; spiffe_sequence: number };
    assert.deepEqual([keys.length, keys[0]!.use, keys[0]!.kty, keys[0]!.crv, hint, sequence], [1, 'x509-svid', 'EC', 'P-256', 30, 1]);
    const pem = await mesh.ask('GET', '/v1/trust-bundle', undefined, { accept: 'application/x-pem-file' });
    assert.ok(new X509Certificate(pem.body['text'] as string).raw.equals(Buffer.from(keys[0]!.x5c[0]!, 'base64')));
    assert.notEqual(json.headers.get('etag'), pem.headers.get('etag'));
    assert.equal((await mesh.ask('GET', '/v1/trust-bundle', undefined, { 'if-none-match': json.headers.get('etag')! })).status, 304);
    assert.equal((await mesh.ask('GET', '/v1/trust-bundle', undefined, { 'if-none-match': '"other"' })).status, 200);
    assert.equal(readFileSync(join(mesh.dataDir, 'ca', 'roots.pem'), 'utf8'), pem.body['text']);
  });
});

/** Stretches of a key that cannot be there by chance. */
function secretsOf(base64: string): string[] {
  const der = Buffer.from(base64, 'base64');
  // PKCS #8 of P-256: the private number is 32 bytes from the 36th.
  const number = der.subarray(36, 68);
  return [number.toString('latin1'), number.toString('hex'), number.toString('base64url'), ...base64.split('\n').map((line) => line.trim()).filter((line, index) => index === 1 && line.length > 20)];
}

describe('a workload’s token of the platform', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  let mesh: TestMesh;
  before(async () => {
    const jwk = { ...(await exportJWK(publicKey)), kid: 'k1', alg: 'ES256' };
    mesh = new TestMesh({
      workloads: [{ issuer: 'https://kubernetes', audience: 'mesh', jwks: { keys: [jwk] }, template: 'system:serviceaccount:{namespace}:{service}', subjects: { 'legacy-orders': { service: 'orders' } } }],
    });
    await mesh.start();
  });
  after(() => mesh.close());

  const token = ({ sub = 'system:serviceaccount:default:orders', aud = 'mesh', iss = 'https://kubernetes', exp = '1h', key = privateKey } = {}): Promise<string> =>
    new SignJWT({ sub }).setProtectedHeader({ alg: 'ES256', kid: 'k1' }).setIssuer(iss).setAudience(aud).setExpirationTime(exp).setIssuedAt().sign(key);

  test('gives it the name that its subject says, by template or table', async () => {
    for (const sub of ['system:serviceaccount:default:orders', 'legacy-orders']) {
      const directory = mesh.newDirectory();
      const sidecar = mesh.sidecar('orders', { directory, workloadTokenFile: mesh.file(await token({ sub })) });
      await sidecar.logged('ready');
      assert.equal(certificateIn(directory).subjectAltName, 'URI:spiffe://shop.internal/ns/default/sa/orders');
      await sidecar.stop();
    }
  });

  test('is refused with the wrong issuer, audience, key, subject or namespace, and when it has expired', async () => {
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
    const { csr } = await createSigningRequest('spiffe://shop.internal/ns/default/sa/orders');
    for (const [options, code, detail] of [
      [{ iss: 'https://other' }, 'proof_invalid', /issuer that is not configured/],
      [{ aud: 'other' }, 'proof_invalid', /another audience/],
      [{ key: stranger }, 'proof_invalid', /signature or claims/],
      [{ exp: '-1h' }, 'proof_expired', /expired/],
      [{ sub: 'system:serviceaccount:default:orders:x' }, 'proof_invalid', /not that of any service/],
      [{ sub: 'system:serviceaccount:default:Orders' }, 'proof_invalid', /not that of any service/],
      [{ sub: 'toString' }, 'proof_invalid', /not that of any service/],
      [{ sub: 'system:serviceaccount:other:orders' }, 'name_not_proven', /another name/],
      [{ sub: 'system:serviceaccount:default:billing' }, 'name_not_proven', /another name/],
    ] as const) {
      const { status, body } = await mesh.ask('POST', '/v1/certificates', { csr, proof: { kind: 'workload', token: await token(options) } });
      assert.deepEqual([status, body['code']], [403, code], JSON.stringify(options));
      assert.match(body['detail'] as string, detail);
    }
    assert.equal((await mesh.ask('POST', '/v1/certificates', { csr, proof: { kind: 'workload', token: await token() } })).status, 201);
  });

  test('is read anew for each attempt', async () => {
    const file = mesh.file(await token({ exp: '-1h' }));
    const directory = mesh.newDirectory();
    const sidecar = mesh.sidecar('orders', { directory, workloadTokenFile: file });
    assert.match((await sidecar.logged('there is no certificate yet; trying on'))['reason'] as string, /expired/);
    assert.ok(!existsSync(join(directory, 'identity.pem')));
    writeFileSync(file, await token());
    await sidecar.logged('ready');
    await sidecar.stop();
  });
});

describe('without a control plane', () => {
  test('a first start waits, says why it is not ready, and is ended at once', async (t) => {
    const mesh = new TestMesh();
    t.after(() => mesh.close());
    await mesh.start();
    const token = await mesh.joinToken('orders');
    await mesh.kill();
    const sidecar = mesh.sidecar('orders', { directory: mesh.newDirectory(), joinTokenFile: mesh.file(token) }, { admin: { host: '127.0.0.1', port: await freePort() } });
    await sidecar.logged('there is no certificate yet; trying on');
    const port = (JSON.parse(readFileSync(join(sidecar.directory, 'config.yaml'), 'utf8')) as { admin: { port: number } }).admin.port;
    const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
    assert.equal(ready.status, 503);
    assert.deepEqual(((await ready.json()) as { reasons: string[] }).reasons, ['starting', 'there is no certificate yet: waiting for the control plane to issue one']);
    const at = performance.now();
    const { code, stderr } = await sidecar.stop();
    assert.equal(code, 0, stderr);
    assert.ok(performance.now() - at < 5_000);
    // Once it is there, the next one gets through by itself.
    const second = mesh.sidecar('orders', { directory: mesh.newDirectory(), joinTokenFile: mesh.file(token) });
    await second.logged('there is no certificate yet; trying on');
    await mesh.start();
    await second.logged('ready');
  });

  test('a start from the files on disk needs nobody', async (t) => {
    const mesh = new TestMesh();
    t.after(() => mesh.close());
    await mesh.start();
    const directory = mesh.newDirectory();
    const identity = { directory, joinTokenFile: mesh.file(await mesh.joinToken('orders')) };
    const first = mesh.sidecar('orders', identity);
    await first.logged('ready');
    await first.stop();
    await mesh.kill();
    const second = mesh.sidecar('orders', identity);
    await second.logged('the identity on disk is in force');
    await second.logged('ready');
    await second.stop();
    // What is on disk is another's, or damaged: it does not start with that.
    const other = mesh.sidecar('billing', { directory });
    await other.logged('the identity on disk is that of another workload, and is not used');
    await other.stop();
    writeFileSync(join(directory, 'identity.pem'), readFileSync(join(directory, 'identity.pem'), 'utf8').slice(0, 300));
    const damaged = mesh.sidecar('orders', identity);
    await damaged.logged('the identity on disk cannot be used');
    await mesh.start();
    await until(() => damaged.stderr.includes('was used before'));
  });

  test('a control plane that was set up anew tears nobody out of the mesh', async (t) => {
    const mesh = new TestMesh({ bundleRefresh: '1s' });
    t.after(() => mesh.close());
    await mesh.start();
    const directory = mesh.newDirectory();
    const sidecar = mesh.sidecar('orders', { directory, joinTokenFile: mesh.file(await mesh.joinToken('orders')) });
    await sidecar.logged('ready');
    const before = ['identity.pem', 'bundle.pem'].map((name) => readFileSync(join(directory, name), 'utf8'));
    await mesh.kill();
    rmSync(mesh.dataDir, { recursive: true });
    await mesh.start();
    await sidecar.logged('a trust bundle without the root of our own certificate is refused; was the control plane set up anew?');
    assert.deepEqual(['identity.pem', 'bundle.pem'].map((name) => readFileSync(join(directory, name), 'utf8')), before);
  });
});
