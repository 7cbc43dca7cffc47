import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { Clock } from '../../shared/clock/clock.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { isIssuedUnder, readIdentity } from '../../shared/identity/held-identity.js';
import { createSigningRequest } from '../../shared/identity/signing-request.js';
import { silentLogger, type Logger } from '../../shared/telemetry/logger.js';
import { testMeshAuthority } from '../../tests/support/mesh-authority.js';
import { Authority } from './authority.js';
import { RotationUnderWay } from './authority-keeper.js';
import type { CertificateAuthority } from './certificate-authority.js';
import { Refusal } from './refusal.js';
import { memoryDocument, type StateDocument } from './state.js';

const directory = mkdtempSync(join(tmpdir(), 'rotation-test-'));
after(() => rmSync(directory, { recursive: true }));

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;

const stages = ({ keeper }: CertificateAuthority): string => keeper.state.authorities.map(({ stage }) => stage).join(' ');
const rootsIn = ({ bundle }: CertificateAuthority): number => bundle.pem.split('BEGIN CERTIFICATE').length - 1;

/** A certificate as a workload holds it. */
async function enrolled(authority: CertificateAuthority): Promise<string> {
  const { token } = await authority.makeJoinToken({ service: 'orders', namespace: 'default' }, minute);
  const request = await createSigningRequest(undefined);
  const { chain } = await authority.issue(request.csr, { kind: 'joinToken', token }, '127.0.0.1');
  return `${request.key.export({ type: 'pkcs8', format: 'pem' }).toString()}${chain}`;
}

/** What time does, and the timers of the authority, which cannot be waited for: cryptography takes real time. */
async function pass(clock: FakeClock, authority: CertificateAuthority, ms: number): Promise<void> {
  await clock.advance(ms);
  await authority.keeper.step();
}

describe('a rotation of the root', () => {
  test('goes through its stages, with everybody’s certificate believed by everybody at each of them', async () => {
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock });
    const oldest = await enrolled(authority);
    const bundleBefore = authority.bundle;
    assert.deepEqual([stages(authority), bundleBefore.sequence], ['signing', 1]);

    await authority.rotate(hour);
    assert.deepEqual([stages(authority), rootsIn(authority), authority.bundle.sequence], ['signing published', 2, 2]);
    const during = await enrolled(authority);
    assert.ok(isIssuedUnder(readIdentity(during), bundleBefore.pem), 'those who do not know the new root yet believe what is issued meanwhile');
    await assert.rejects(authority.rotate(), RotationUnderWay);

    await pass(clock, authority, hour - 1_000);
    assert.equal(stages(authority), 'signing published', 'not before its time');
    await pass(clock, authority, 1_000);
    assert.deepEqual([stages(authority), rootsIn(authority), authority.bundle.sequence], ['retired signing', 2, 2]);
    const newest = await enrolled(authority);
    assert.ok(!isIssuedUnder(readIdentity(newest), bundleBefore.pem));
    for (const pem of [oldest, during, newest]) assert.ok(isIssuedUnder(readIdentity(pem), authority.bundle.pem));

    // The last certificate of the old root lives for a day, and clocks may be ten minutes behind.
    await pass(clock, authority, day + 9 * minute);
    assert.equal(stages(authority), 'retired signing');
    await pass(clock, authority, minute);
    assert.deepEqual([stages(authority), rootsIn(authority), authority.bundle.sequence], ['signing', 1, 3]);
    assert.ok(Date.parse(new X509Certificate(during).validTo) < clock.wallNow(), 'nothing of the old root is alive');
    await authority.close();
  });

  test('starts by itself in the last fifth of a root’s life, again and again', async () => {
    const clock = new FakeClock();
    const { authority } = await testMeshAuthority({ clock, config: { rootLifetimeDays: 100 } });
    // Its own timers, every ten seconds of two hundred days, are left out: the steps are taken by hand.
    await authority.close();
    const seen = new Set<string>();
    let alive = await enrolled(authority);
    for (let halfDays = 0; halfDays < 400; halfDays++) {
      await pass(clock, authority, day / 2);
      const next = await enrolled(authority);
      for (const pem of [alive, next]) assert.ok(isIssuedUnder(readIdentity(pem), authority.bundle.pem));
      assert.ok(Date.parse(new X509Certificate(next).validTo) >= clock.wallNow() + day - 1_000, 'no certificate is cut short by the end of its root');
      alive = next;
      seen.add(authority.keeper.signing!.id);
      assert.ok(rootsIn(authority) <= 2);
    }
    assert.ok(seen.size >= 3 && seen.size <= 4, `${seen.size} roots in 200 days`);
  });

  test('goes on where it was when the process is killed, before and after each write', async () => {
    const clock = new FakeClock();
    const inner = memoryDocument();
    let crash: 'before' | 'after' | undefined;
    const document: StateDocument = {
      read: () => inner.read(),
      async replace(before, after) {
        if (crash === 'before') throw new Error('killed');
        const done = await inner.replace(before, after);
        if (crash === 'after') throw new Error('killed');
        return done;
      },
    };
    let { authority } = await testMeshAuthority({ clock, document });
    const restart = async (): Promise<void> => {
      crash = undefined;
      await authority.close();
      ({ authority } = await testMeshAuthority({ clock, document }));
    };
    const oldest = await enrolled(authority);
    crash = 'before';
    await assert.rejects(authority.rotate(hour));
    await restart();
    assert.equal(stages(authority), 'signing');
    crash = 'after';
    await assert.rejects(authority.rotate(hour));
    await restart();
    assert.equal(stages(authority), 'signing published', 'what is on disk counts');
    for (const [wait, when, expected] of [[hour, 'before', 'retired signing'], [0, 'after', 'retired signing'], [day + 10 * minute, 'after', 'signing']] as const) {
      await clock.advance(wait);
      crash = when;
      await authority.keeper.step().catch(() => {});
      await restart();
      assert.equal(stages(authority), expected);
      if (wait < day) assert.ok(isIssuedUnder(readIdentity(oldest), authority.bundle.pem));
    }
    await authority.close();
  });

  test('keeps the old root for as long as the longest certificate that it may have signed', async () => {
    const clock = new FakeClock();
    const document = memoryDocument();
    const long = await testMeshAuthority({ clock, document, config: { certificateLifetime: '48h' } });
    const pem = await enrolled(long.authority);
    await long.authority.close();
    const { authority } = await testMeshAuthority({ clock, document, config: { certificateLifetime: '1h' } });
    await authority.rotate(minute);
    await pass(clock, authority, minute);
    await pass(clock, authority, 47 * hour);
    assert.ok(isIssuedUnder(readIdentity(pem), authority.bundle.pem));
    await pass(clock, authority, 2 * hour);
    assert.equal(stages(authority), 'signing');
    await authority.close();
  });

  test('ends with one that signs, also when the clock was set back after the one before was made', async () => {
    const fake = new FakeClock();
    let ahead = 48 * hour;
    const clock: Clock = { now: () => fake.now(), wallNow: () => fake.wallNow() + ahead, after: (ms, callback) => fake.after(ms, callback) };
    const { authority } = await testMeshAuthority({ clock });
    const first = authority.keeper.signing!.id;
    ahead = 0;
    await authority.rotate(hour);
    await pass(fake, authority, hour);
    assert.equal(stages(authority), 'retired signing');
    assert.notEqual(authority.keeper.signing!.id, first);
    await authority.close();
  });

  test('a state of before in which two sign has one that does: the later', async () => {
    const clock = new FakeClock();
    const document = memoryDocument();
    const before = (await testMeshAuthority({ clock, document })).authority;
    await before.rotate(hour);
    await before.close();
    const text = (await document.read())!;
    await document.replace(text, text.replace('"stage":"published"', '"stage":"signing"'));
    const { authority } = await testMeshAuthority({ clock, document });
    assert.equal(stages(authority), 'retired signing');
    assert.equal(authority.keeper.signing!.id, authority.keeper.state.authorities[1]!.id);
    await authority.close();
  });

  test('begins at once where the root has ended while nobody was there to follow it', async () => {
    const clock = new FakeClock();
    const document = memoryDocument();
    const before = (await testMeshAuthority({ clock, document, config: { rootLifetimeDays: 9 } })).authority;
    await before.close();
    await clock.advance(10 * day);
    const { authority } = await testMeshAuthority({ clock, document, config: { rootLifetimeDays: 9 } });
    assert.equal(stages(authority), 'retired signing');
    assert.ok(isIssuedUnder(readIdentity(await enrolled(authority)), authority.bundle.pem));
    await authority.close();
  });

  test('is taken over from another control plane that was faster', async () => {
    const clock = new FakeClock();
    const document = memoryDocument();
    const first = await testMeshAuthority({ clock, document });
    const second = await testMeshAuthority({ clock, document });
    assert.equal(first.authority.keeper.signing!.id, second.authority.keeper.signing!.id);
    await first.authority.rotate(hour);
    await assert.rejects(second.authority.rotate(hour), RotationUnderWay);
    assert.equal(second.authority.bundle.pem, first.authority.bundle.pem);
    await Promise.all([first.authority.close(), second.authority.close()]);
  });
});

const hasOpenssl = ((): boolean => {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

describe('an issuer of one’s own', { skip: !hasOpenssl && 'there is no openssl' }, () => {
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: directory, stdio: 'pipe' });
  const makeRoot = (name: string): void => openssl('req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.crt`, '-days', '3650', '-subj', `/CN=${name}`, '-addext', 'basicConstraints=critical,CA:TRUE', '-addext', 'keyUsage=critical,keyCertSign');
  const makeIntermediate = (name: string, root: string, { ca = 'TRUE', days = 3_000 } = {}): void => {
    writeFileSync(join(directory, 'extensions.txt'), `basicConstraints=critical,CA:${ca}\nkeyUsage=critical,keyCertSign\nsubjectKeyIdentifier=hash\n`);
    openssl('req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    openssl('x509', '-req', '-in', `${name}.csr`, '-CA', `${root}.crt`, '-CAkey', `${root}.key`, '-CAcreateserial', '-out', `${name}.crt`, '-days', String(days), '-extfile', 'extensions.txt');
  };
  const path = (name: string): string => join(directory, name);
  const use = (issuer: string, root: string): void => {
    for (const [from, to] of [[`${issuer}.crt`, 'now.crt'], [`${issuer}.key`, 'now.key'], [`${root}.crt`, 'now-root.crt']] as const) execFileSync('cp', [path(from), path(to)]);
  };
  const config = { issuer: { cert: path('now.crt'), key: path('now.key') }, root: path('now-root.crt') };

  test('signs under the root, and its exchange is an overlap if the root is another', async () => {
    for (const root of ['one', 'two']) makeRoot(root);
    for (const [name, root] of [['a', 'one'], ['b', 'one'], ['c', 'two']] as const) makeIntermediate(name, root);
    use('a', 'one');
    const clock = new FakeClock({ wall: Date.now() });
    const document = memoryDocument();
    const { authority } = await testMeshAuthority({ clock, document, config });
    const underA = await enrolled(authority);
    assert.equal(readIdentity(underA).intermediates.length, 1, 'the intermediate goes along');
    assert.equal(authority.bundle.pem.replace(/\s/g, ''), new X509Certificate(execFileSync('cat', [path('one.crt')])).toString().replace(/\s/g, ''));
    writeFileSync(path('leaf.pem'), new X509Certificate(underA).toString());
    openssl('verify', '-CAfile', 'one.crt', '-untrusted', 'a.crt', 'leaf.pem');

    use('b', 'one');
    await pass(clock, authority, 10_000);
    assert.deepEqual([stages(authority), rootsIn(authority)], ['retired signing', 1], 'under the same root it signs at once');
    use('c', 'two');
    await pass(clock, authority, 10_000);
    assert.deepEqual([stages(authority), rootsIn(authority)], ['retired signing published', 2]);
    // Restarted in the overlap, when the files of before are gone.
    await authority.close();
    const again = (await testMeshAuthority({ clock, document, config })).authority;
    const underB = await enrolled(again);
    await pass(clock, again, day);
    assert.equal(stages(again), 'retired retired signing');
    const underC = await enrolled(again);
    for (const pem of [underA, underB, underC]) assert.ok(isIssuedUnder(readIdentity(pem), again.bundle.pem));
    await pass(clock, again, day + 10 * minute);
    assert.deepEqual([stages(again), rootsIn(again)], ['signing', 1]);
    // Files that cannot be used change nothing.
    writeFileSync(path('now.key'), 'no key');
    await pass(clock, again, 10_000);
    assert.equal(stages(again), 'signing');
    await assert.rejects(again.rotate(hour), RotationUnderWay);
    await again.close();
  });

  test('that has expired keeps nobody from starting: certificates are refused for the moment, until another one is there', async () => {
    makeRoot('five');
    makeIntermediate('short', 'five', { days: 1 });
    makeIntermediate('long', 'five');
    use('short', 'five');
    const clock = new FakeClock({ wall: Date.now() + 2 * day });
    const errors: string[] = [];
    const logger = Object.assign(Object.create(silentLogger) as Logger, { error: (_about: object, message: string) => errors.push(message) });
    const { authority } = await testMeshAuthority({ clock, config, logger });
    assert.deepEqual([stages(authority), errors], ['', ['the issuer has expired: it signs nothing; put a new one in place of its files']]);
    await assert.rejects(enrolled(authority), (error) => error instanceof Refusal && error.code === 'authority_expired' && error.status === 503);
    use('long', 'five');
    await pass(clock, authority, 10_000);
    assert.ok(isIssuedUnder(readIdentity(await enrolled(authority)), authority.bundle.pem));
    await authority.close();
  });

  test('that expires while it signs uses up no join token', async () => {
    makeRoot('six');
    makeIntermediate('ending', 'six', { days: 1 });
    makeIntermediate('next', 'six');
    use('ending', 'six');
    const clock = new FakeClock({ wall: Date.now() });
    const { authority } = await testMeshAuthority({ clock, config });
    await authority.close();
    await clock.advance(authority.keeper.signing!.endsAt - clock.wallNow() - minute);
    const { token } = await authority.makeJoinToken({ service: 'orders', namespace: 'default' }, 10 * minute);
    const { csr } = await createSigningRequest(undefined);
    await clock.advance(2 * minute);
    await assert.rejects(authority.issue(csr, { kind: 'joinToken', token }, '127.0.0.1'), (error) => error instanceof Refusal && error.code === 'authority_expired');
    use('next', 'six');
    await authority.keeper.step();
    assert.equal((await authority.issue(csr, { kind: 'joinToken', token }, '127.0.0.1')).name, 'spiffe://shop.internal/ns/default/sa/orders');
  });

  test('that cannot sign is refused with the reason', async () => {
    makeRoot('three');
    makeIntermediate('d', 'three');
    makeIntermediate('not-ca', 'three', { ca: 'FALSE' });
    const read = (name: string): string => execFileSync('cat', [path(name)], { encoding: 'utf8' });
    for (const [chain, key, root, reason] of [
      ['d.crt', 'three.key', 'three.crt', /issuer\.key: it does not belong/],
      ['d.crt', 'd.key', 'one.crt', /certificate 1: it was not issued by the root/],
      ['not-ca.crt', 'not-ca.key', 'three.crt', /not that of an authority/],
      ['d.key', 'd.key', 'three.crt', /issuer\.cert: no certificate/],
      ['d.crt', 'd.crt', 'three.crt', /issuer\.key: a private key/],
    ] as const) await assert.rejects(Authority.open({ chain: read(chain), key: read(key), root: read(root) }), reason);
  });

  test('takes over from a root of our own, and gives back to one, each with an overlap', async () => {
    makeRoot('four');
    makeIntermediate('e', 'four');
    use('e', 'four');
    const clock = new FakeClock({ wall: Date.now() });
    const document = memoryDocument();
    const own = (await testMeshAuthority({ clock, document })).authority;
    const before = await enrolled(own);
    await own.close();
    const given = (await testMeshAuthority({ clock, document, config })).authority;
    assert.equal(stages(given), 'signing published');
    await pass(clock, given, day);
    assert.ok(isIssuedUnder(readIdentity(before), given.bundle.pem));
    assert.equal(given.keeper.state.authorities.find(({ stage }) => stage === 'signing')!.source, 'given');
    await given.close();
    const back = (await testMeshAuthority({ clock, document })).authority;
    assert.match(stages(back), /signing published$/);
    await pass(clock, back, day);
    assert.equal(back.keeper.state.authorities.find(({ stage }) => stage === 'signing')!.source, 'own');
    await back.close();
  });
});
