import 'reflect-metadata';
import * as x509 from '@peculiar/x509';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { webcrypto, X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { signRenewalProof } from '../../shared/identity/renewal-proof.js';
import { createSigningRequest } from '../../shared/identity/signing-request.js';
import { testMeshAuthority } from '../../tests/support/mesh-authority.js';
import { FileOnceOnly } from '../sources/once-only.js';
import type { CertificateAuthority } from './certificate-authority.js';
import { Refusal, type RefusalCode } from './refusal.js';
import { fileDocument, memoryDocument } from './state.js';

const directory = mkdtempSync(join(tmpdir(), 'ca-test-'));
after(() => rmSync(directory, { recursive: true }));

const minute = 60_000;
const hour = 60 * minute;
const orders = 'spiffe://shop.internal/ns/default/sa/orders';

const refusedAs = (code: RefusalCode) => (error: unknown): boolean => error instanceof Refusal && error.code === code;

async function joined(authority: CertificateAuthority, service = 'orders'): Promise<{ certificate: X509Certificate; chain: string; request: Awaited<ReturnType<typeof createSigningRequest>> }> {
  const { token } = await authority.makeJoinToken({ service, namespace: 'default' }, minute);
  const request = await createSigningRequest(undefined);
  const { chain } = await authority.issue(request.csr, { kind: 'joinToken', token }, '127.0.0.1');
  return { certificate: new X509Certificate(chain), chain, request };
}

async function renewal(clock: FakeClock, of: Awaited<ReturnType<typeof joined>>, { trustDomain = 'shop.internal', wallNow = clock.wallNow(), name = undefined as string | undefined, digestOf = undefined as Uint8Array | undefined, key = of.request.key } = {}): Promise<{ csr: string; proof: { kind: 'renewal'; jws: string } }> {
  const request = await createSigningRequest(name);
  const jws = await signRenewalProof({ key, certificate: of.certificate.raw, trustDomain, requestDer: digestOf ?? request.der, wallNow });
  return { csr: request.csr, proof: { kind: 'renewal', jws } };
}

describe('a certificate of the mesh', () => {
  test('is an X.509-SVID: one SPIFFE name, no authority, for both sides of TLS', async () => {
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock });
    const { certificate, chain } = await joined(authority);
    assert.equal(certificate.subjectAltName, `URI:${orders}`);
    assert.equal(certificate.ca, false);
    const parsed = new x509.X509Certificate(chain);
    assert.equal(parsed.getExtension(x509.KeyUsagesExtension)!.usages, x509.KeyUsageFlags.digitalSignature);
    assert.equal(parsed.getExtension(x509.KeyUsagesExtension)!.critical, true);
    assert.equal(parsed.getExtension(x509.BasicConstraintsExtension)!.critical, true);
    assert.deepEqual([...parsed.getExtension(x509.ExtendedKeyUsageExtension)!.usages].map(String).sort(), ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
    assert.ok(certificate.serialNumber.length === 32, certificate.serialNumber);
    assert.doesNotMatch(certificate.subject, /CN=/);
    assert.equal(Date.parse(certificate.validFrom), clock.wallNow() - 10 * minute, 'begins before it is made');
    assert.equal(Date.parse(certificate.validTo), clock.wallNow() + 24 * hour);
    await authority.close();
  });

  test('is believed by openssl, whose clock is five minutes off either way', async (t) => {
    if (spawnsOpenssl() === undefined) return t.skip('there is no openssl');
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock });
    const { chain } = await joined(authority);
    writeFileSync(join(directory, 'leaf.pem'), chain);
    writeFileSync(join(directory, 'bundle.pem'), authority.bundle.pem);
    for (const offset of [-5 * minute, 0, 5 * minute]) {
      const at = String(Math.floor((clock.wallNow() + offset) / 1_000));
      for (const purpose of ['sslserver', 'sslclient']) {
        assert.match(execFileSync('openssl', ['verify', '-attime', at, '-x509_strict', '-purpose', purpose, '-CAfile', join(directory, 'bundle.pem'), join(directory, 'leaf.pem')], { encoding: 'utf8' }), /OK/);
      }
    }
    await authority.close();
  });

  test('has a serial of its own', async () => {
    const { authority } = await testMeshAuthority();
    const serials = new Set<string>();
    for (let n = 0; n < 50; n++) serials.add((await joined(authority)).certificate.serialNumber);
    assert.equal(serials.size, 50);
    await authority.close();
  });
});

describe('a signing request', () => {
  const ask = async (csr: string, expected: RefusalCode | undefined): Promise<void> => {
    const { authority } = await testMeshAuthority();
    const { token } = await authority.makeJoinToken({ service: 'orders', namespace: 'default' }, minute);
    const asked = authority.issue(csr, { kind: 'joinToken', token }, '127.0.0.1');
    if (expected === undefined) assert.equal(new X509Certificate((await asked).chain).subjectAltName, `URI:${orders}`);
    else await assert.rejects(asked, refusedAs(expected));
    // What was refused for its own sake has not used the token up.
    if (expected !== undefined) await authority.issue((await createSigningRequest(undefined)).csr, { kind: 'joinToken', token }, '127.0.0.1');
    await authority.close();
  };
  const made = async (algorithm: webcrypto.RsaHashedKeyGenParams | webcrypto.EcKeyGenParams | { name: string }, signing: { name: string; hash?: string }, names?: x509.JsonGeneralNames): Promise<string> => {
    const keys = (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
    return (await x509.Pkcs10CertificateRequestGenerator.create({ keys, signingAlgorithm: signing as never, name: 'CN=admin', ...(names && { extensions: [new x509.SubjectAlternativeNameExtension(names)] }) })).toString('pem');
  };
  const p256 = { name: 'ECDSA', namedCurve: 'P-256' };
  const ecdsa = { name: 'ECDSA', hash: 'SHA-256' };
  const rsa = (modulusLength: number) => ({ name: 'RSASSA-PKCS1-v1_5', modulusLength, publicExponent: new Uint8Array([1, 0, 1]), hash: 'SHA-256' });
  const rsaSigning = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };

  test('may have a key of P-256, P-384, RSA-2048 or Ed25519, and its subject counts for nothing', async () => {
    for (const csr of [await made(p256, ecdsa), await made({ name: 'ECDSA', namedCurve: 'P-384' }, { name: 'ECDSA', hash: 'SHA-384' }), await made(rsa(2_048), rsaSigning), await made({ name: 'Ed25519' }, { name: 'Ed25519' })]) await ask(csr, undefined);
  });

  test('may name what the proof gives, and nothing else', async () => {
    await ask(await made(p256, ecdsa, [{ type: 'url', value: orders }]), undefined);
    await ask(await made(p256, ecdsa, [{ type: 'url', value: orders.replace('orders', 'billing') }]), 'name_not_proven');
    await ask(await made(p256, ecdsa, [{ type: 'url', value: orders }, { type: 'dns', value: 'localhost' }]), 'name_not_proven');
    await ask(await made(p256, ecdsa, [{ type: 'dns', value: 'orders' }]), 'name_not_proven');
  });

  test('is refused with a weak key, another key’s signature, too much text, or no sense', async () => {
    await ask(await made(rsa(1_024), rsaSigning), 'request_invalid');
    await ask(await made({ name: 'ECDSA', namedCurve: 'P-521' }, { name: 'ECDSA', hash: 'SHA-512' }), 'request_invalid');
    await ask(await made({ ...rsa(2_048), hash: 'SHA-1' }, { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-1' }), 'request_invalid');
    const der = Buffer.from(x509.PemConverter.decodeFirst(await made(p256, ecdsa)));
    der[der.length - 5]! ^= 1;
    await ask(x509.PemConverter.encode(der, 'CERTIFICATE REQUEST'), 'request_invalid');
    await ask('x'.repeat(20_000), 'request_invalid');
    await ask('-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n', 'request_invalid');
  });
});

describe('a join token', () => {
  test('is good once: of twenty at a time one wins', async () => {
    const { authority } = await testMeshAuthority();
    const { token } = await authority.makeJoinToken({ service: 'orders', namespace: 'default' }, minute);
    const request = await createSigningRequest(undefined);
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => authority.issue(request.csr, { kind: 'joinToken', token }, '127.0.0.1')));
    assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 1);
    for (const outcome of outcomes) if (outcome.status === 'rejected') assert.ok(refusedAs('proof_used')(outcome.reason));
    await authority.close();
  });

  test('stays used after a restart, and its record holds no token', async () => {
    const dataDir = mkdtempSync(join(directory, 'used-'));
    const clock = new FakeClock();
    const document = await fileDocument(dataDir);
    const used = await FileOnceOnly.open(join(dataDir, 'ca'), clock);
    const first = await testMeshAuthority({ clock, document, once: used });
    const { token } = await first.authority.makeJoinToken({ service: 'orders', namespace: 'default' }, minute);
    const { csr } = await createSigningRequest(undefined);
    await first.authority.issue(csr, { kind: 'joinToken', token }, '127.0.0.1');
    const record = readFileSync(join(dataDir, 'ca', 'used.log'), 'utf8');
    assert.match(record, /^[\w-]{43} \d+\n$/);
    assert.ok(!record.includes(token.split('.')[1]!));
    // A crash in the middle of the next line.
    execFileSync('sh', ['-c', `printf 'half-a-li' >> ${join(dataDir, 'ca', 'used.log')}`]);
    const usedAgain = await FileOnceOnly.open(join(dataDir, 'ca'), clock);
    const second = await testMeshAuthority({ clock, document, once: usedAgain });
    await assert.rejects(second.authority.issue(csr, { kind: 'joinToken', token }, '127.0.0.1'), refusedAs('proof_used'));
    await clock.advance(2 * minute);
    await assert.rejects(second.authority.issue(csr, { kind: 'joinToken', token }, '127.0.0.1'), refusedAs('proof_expired'));
    await Promise.all([first.authority.close(), second.authority.close(), used.close(), usedAgain.close()]);
  });

  test('of another mesh, or made up, is refused', async () => {
    const { authority } = await testMeshAuthority();
    const other = await testMeshAuthority();
    const { csr } = await createSigningRequest(undefined);
    const { token } = await other.authority.makeJoinToken({ service: 'orders', namespace: 'default' }, minute);
    for (const wrong of [token, 'a.b.c', `${token.split('.').slice(0, 2).join('.')}.AAAA`, `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]!}.x`]) {
      await assert.rejects(authority.issue(csr, { kind: 'joinToken', token: wrong }, '127.0.0.1'), refusedAs('proof_invalid'));
    }
    await Promise.all([authority.close(), other.authority.close()]);
  });
});

describe('a renewal', () => {
  test('gives the same name again, for another key', async () => {
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock });
    const first = await joined(authority);
    await clock.advance(12 * hour);
    const { csr, proof } = await renewal(clock, first, { name: orders });
    const second = new X509Certificate((await authority.issue(csr, proof, '127.0.0.1')).chain);
    assert.equal(second.subjectAltName, `URI:${orders}`);
    assert.notDeepEqual(second.publicKey.export({ format: 'jwk' }), first.certificate.publicKey.export({ format: 'jwk' }));
    await authority.close();
  });

  test('is made with clocks five minutes apart, and not with older ones', async () => {
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock });
    const first = await joined(authority);
    for (const offset of [-5 * minute, 5 * minute]) {
      const { csr, proof } = await renewal(clock, first, { wallNow: clock.wallNow() + offset });
      await authority.issue(csr, proof, '127.0.0.1');
    }
    const { csr, proof } = await renewal(clock, first);
    await clock.advance(11 * minute);
    await assert.rejects(authority.issue(csr, proof, '127.0.0.1'), refusedAs('proof_expired'));
    await authority.close();
  });

  test('is refused for another request, another name, another mesh, another key, and after the end', async () => {
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock });
    const stranger = await testMeshAuthority({ clock });
    const first = await joined(authority);
    const foreign = await joined(stranger.authority);
    const other = await createSigningRequest(undefined);
    const cases: readonly (readonly [RefusalCode, Awaited<ReturnType<typeof renewal>>])[] = [
      ['proof_invalid', await renewal(clock, first, { digestOf: other.der })],
      ['proof_invalid', await renewal(clock, first, { trustDomain: 'elsewhere' })],
      ['proof_invalid', await renewal(clock, first, { key: other.key })],
      ['proof_invalid', await renewal(clock, foreign)],
      ['name_not_proven', await renewal(clock, first, { name: orders.replace('orders', 'billing') })],
    ];
    for (const [code, { csr, proof }] of cases) await assert.rejects(authority.issue(csr, proof, '127.0.0.1'), refusedAs(code));
    await clock.advance(24 * hour + 1_000);
    const late = await renewal(clock, first);
    await assert.rejects(authority.issue(late.csr, late.proof, '127.0.0.1'), refusedAs('proof_expired'));
    await Promise.all([authority.close(), stranger.authority.close()]);
  });

  test('may be allowed for a while after the end', async () => {
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock, config: { renewalGrace: '1h' } });
    const first = await joined(authority);
    await clock.advance(24 * hour + 30 * minute);
    const { csr, proof } = await renewal(clock, first);
    await authority.issue(csr, proof, '127.0.0.1');
    await authority.close();
  });

  test('is refused for a name that is in wrong hands', async () => {
    const clock = new FakeClock();
    const document = memoryDocument();
    const before = await testMeshAuthority({ clock, document });
    const first = await joined(before.authority);
    await before.authority.close();
    const { authority } = await testMeshAuthority({ clock, document, config: { refused: [orders] } });
    const { csr, proof } = await renewal(clock, first);
    await assert.rejects(authority.issue(csr, proof, '127.0.0.1'), refusedAs('name_refused'));
    await authority.close();
  });
});

describe('the authority’s files', () => {
  test('are its owner’s alone, and leftovers of a crash go', async () => {
    const dataDir = mkdtempSync(join(directory, 'files-'));
    const { authority } = await testMeshAuthority({ document: await fileDocument(dataDir) });
    const ca = join(dataDir, 'ca');
    assert.equal(statSync(ca).mode & 0o777, 0o700);
    assert.equal(statSync(join(ca, 'authority.json')).mode & 0o777, 0o600);
    writeFileSync(join(ca, 'authority.json.123456'), 'half a key');
    await fileDocument(dataDir);
    assert.deepEqual(readdirSync(ca), ['authority.json']);
    await authority.close();
  });

  test('that are damaged stop the start, with no word of what is in them', async () => {
    const text = '{"trustDomain":"shop.internal","secret":"PRIVATE KEY"';
    await assert.rejects(testMeshAuthority({ document: memoryDocument(text) }), (error: Error) => /damaged/.test(error.message) && !/PRIVATE/.test(error.message));
  });

  test('of another trust domain stop the start', async () => {
    const document = memoryDocument();
    await (await testMeshAuthority({ document })).authority.close();
    await assert.rejects(testMeshAuthority({ document, config: { trustDomain: 'other' } }), /cannot be renamed/);
  });
});

function spawnsOpenssl(): string | undefined {
  try {
    return execFileSync('openssl', ['version'], { encoding: 'utf8' });
  } catch {
    return undefined;
  }
}

