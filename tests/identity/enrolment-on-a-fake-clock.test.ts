import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { Registry } from 'prom-client';
import type { CertificateAuthority } from '../../control-plane/ca/certificate-authority.js';
import { Refusal } from '../../control-plane/ca/refusal.js';
import type { Clock } from '../../shared/clock/clock.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { EnrolmentRefused, type EnrolmentClient, type FetchedBundle } from '../../shared/identity/enrolment-client.js';
import { Enrolment } from '../../shared/identity/enrolment.js';
import { IdentityMetrics } from '../../shared/identity/identity-metrics.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { testMeshAuthority } from '../support/mesh-authority.js';
import { until } from '../support/until.js';

const directory = mkdtempSync(join(tmpdir(), 'enrolment-test-'));
after(() => rmSync(directory, { recursive: true }));

const minute = 60_000;
const hour = 60 * minute;
let names = 0;

/** An authority, asked without a network; `away` makes it unreachable. */
class DirectClient {
  away = false;
  asked = 0;
  /** Answers with a certificate wait for it. */
  held: Promise<void> | undefined;
  /** In place of the one in force. */
  bundleOfCertificates: string | undefined;
  looks = 0;
  bundlesSent = 0;
  authority!: CertificateAuthority;

  async certificate(...[csr, proof]: Parameters<EnrolmentClient['certificate']>): ReturnType<EnrolmentClient['certificate']> {
    this.asked++;
    if (this.away) throw new Error('connect ECONNREFUSED');
    try {
      const { chain, lifetimeMs } = await this.authority.issue(csr, proof, 'test');
      const pem = this.bundleOfCertificates ?? this.authority.bundle.pem;
      await this.held;
      return { certificate: chain, lifetimeMs, trustBundle: pem };
    } catch (error) {
      if (error instanceof Refusal && error.status === 403) throw new EnrolmentRefused(error.code, error.message);
      throw error;
    }
  }

  async bundle(etag: string | undefined): Promise<FetchedBundle | undefined> {
    if (this.away) throw new Error('connect ECONNREFUSED');
    const { pem, sequence, etags } = this.authority.bundle;
    this.looks++;
    if (etag === etags.json) return undefined;
    this.bundlesSent++;
    return { pem, sequence, trustDomain: 'shop.internal', refreshMs: 30_000, etag: etags.json };
  }

  async close(): Promise<void> {}
}

/** The same clock, set wrong. */
const offBy = (clock: Clock, ms: number): Clock => ({ now: () => clock.now(), wallNow: () => clock.wallNow() + ms, after: (wait, callback) => clock.after(wait, callback) });

async function setUp({ offset = 0, config = {} }: { offset?: number; config?: object } = {}) {
  const clock = new FakeClock();
  const { authority } = await testMeshAuthority({ clock, config });
  await authority.close();
  const client = new DirectClient();
  client.authority = authority;
  const folder = join(directory, `identity-${++names}`);
  const joinTokenFile = join(directory, `token-${names}`);
  const newToken = async (service = 'orders'): Promise<void> => writeFileSync(joinTokenFile, (await client.authority.makeJoinToken({ service, namespace: 'default' }, minute)).token);
  await newToken();
  let changes = 0;
  const make = (): Enrolment =>
    new Enrolment({ config: { directory: folder, namespace: 'default', joinTokenFile }, service: 'orders', client: client as unknown as EnrolmentClient, clock: offBy(clock, offset), random: () => 0.5, logger: silentLogger, metrics: new IdentityMetrics(new Registry()), onChanged: () => changes++ });
  const serial = (): string => new X509Certificate(readFileSync(join(folder, 'identity.pem'))).serialNumber;
  const bundle = (): string => readFileSync(join(folder, 'bundle.pem'), 'utf8');
  return { clock, client, authority, folder, newToken, make, serial, bundle, changes: () => changes };
}

describe('a proxy’s certificate', () => {
  for (const offset of [-5 * minute, 0, 5 * minute]) {
    test(`is renewed in time by a proxy whose clock is ${offset / minute} minutes off`, async () => {
      const { clock, make, serial, changes } = await setUp({ offset, config: { certificateLifetime: '30m' } });
      const enrolment = make();
      await enrolment.start();
      for (let renewals = 0; renewals < 3; renewals++) {
        const before = serial();
        await clock.advance(11 * minute);
        assert.equal(serial(), before, 'not before two fifths of its life');
        await clock.advance(4 * minute);
        await until(() => changes() === renewals + 2);
        assert.notEqual(serial(), before);
      }
      await enrolment.close();
    });
  }

  test('of less life than clocks are apart is renewed in time all the same', async () => {
    const { clock, make, serial } = await setUp({ offset: 5 * minute, config: { certificateLifetime: '60s' } });
    const enrolment = make();
    await enrolment.start();
    const before = serial();
    await clock.advance(23_000);
    assert.equal(serial(), before);
    await clock.advance(7_000);
    await until(() => serial() !== before);
    await enrolment.close();
  });

  test('is kept while the authority is away, asked for with growing pauses, and renewed when it is back', async () => {
    const { clock, client, make, serial } = await setUp();
    const enrolment = make();
    await enrolment.start();
    const before = serial();
    client.away = true;
    await clock.advance(12 * hour);
    assert.ok(enrolment.isHeld);
    // One failure after the other takes real time for its key: the clock goes on in small steps.
    for (let step = 0; step < 200 && client.asked < 12; step++) {
      await new Promise((resolve) => setImmediate(resolve));
      await clock.advance(minute);
    }
    const { asked } = client;
    // It begins after two fifths of 24 h at the earliest. In the 2.4 h from then on it may ask once a minute, and a few times more before pauses are that long.
    assert.ok(asked >= 5 && asked < 160, `asked ${asked} times`);
    assert.equal(serial(), before);
    client.away = false;
    await until(async () => {
      await clock.advance(minute);
      return serial() !== before;
    });
    await enrolment.close();
    assert.equal(clock.pending, 0, 'no timer is left');
  });

  test('from disk is in force at once, and renewed if its time has come', async () => {
    const { clock, client, make, serial } = await setUp();
    const first = make();
    await first.start();
    await first.close();
    const before = serial();
    client.away = true;
    await clock.advance(20 * hour);
    const second = make();
    await second.start();
    assert.ok(second.isHeld);
    client.away = false;
    await until(async () => {
      await clock.advance(10_000);
      return serial() !== before;
    });
    await second.close();
  });
});

describe('a proxy’s trust bundle', () => {
  test('follows a rotation within half a minute, and the fleet hears of each change', async () => {
    const { clock, authority, make, bundle, changes } = await setUp();
    const enrolment = make();
    await enrolment.start();
    assert.equal(changes(), 1);
    await clock.advance(1_000);
    await authority.rotate(hour);
    await clock.advance(30_000);
    await until(() => bundle() === authority.bundle.pem);
    await until(() => changes() === 2);
    assert.equal(bundle().split('BEGIN').length - 1, 2);
    await enrolment.close();
  });

  test('that a renewal brings late does not take the place of a newer one', async () => {
    const { clock, client, authority, make, bundle, serial } = await setUp();
    const enrolment = make();
    await enrolment.start();
    const before = serial();
    let answer!: () => void;
    client.held = new Promise((resolve) => (answer = resolve));
    await until(async () => {
      await clock.advance(minute);
      return client.asked === 2;
    });
    await authority.rotate(hour);
    await until(async () => {
      await clock.advance(30_000);
      return bundle() === authority.bundle.pem;
    });
    answer();
    await until(() => serial() !== before);
    assert.equal(bundle(), authority.bundle.pem);
    await enrolment.close();
  });

  test('that comes with a certificate and is another than before is looked at again, whichever is the newer', async () => {
    const { clock, client, authority, make, bundle, serial } = await setUp();
    const enrolment = make();
    await enrolment.start();
    const [before, old] = [serial(), authority.bundle.pem];
    await authority.rotate(hour);
    await until(async () => {
      await clock.advance(30_000);
      return bundle() === authority.bundle.pem;
    });
    // Of two control planes the one that certificates are asked of lags behind.
    client.bundleOfCertificates = old;
    await until(async () => {
      await clock.advance(minute);
      return serial() !== before;
    });
    await until(async () => {
      await clock.advance(30_000);
      return bundle() === authority.bundle.pem;
    });
    await enrolment.close();
  });

  test('that cannot be written is fetched again', async () => {
    const { clock, client, authority, folder, make, bundle } = await setUp();
    const enrolment = make();
    await enrolment.start();
    const file = join(folder, 'bundle.pem');
    rmSync(file);
    mkdirSync(file);
    await authority.rotate(hour);
    const sent = client.bundlesSent;
    await until(async () => {
      await clock.advance(30_000);
      return client.bundlesSent > sent;
    });
    // The next look comes after this one has failed.
    const looks = client.looks;
    await until(async () => {
      await clock.advance(30_000);
      return client.looks > looks;
    });
    rmSync(file, { recursive: true });
    await until(async () => {
      await clock.advance(30_000);
      return existsSync(file);
    });
    assert.equal(bundle(), authority.bundle.pem);
    assert.equal(client.asked, 1, 'no renewal has brought it');
    await enrolment.close();
  });

  test('without the root of its own certificate is refused, and so is a certificate of such a root as long as the present one lives', async () => {
    const { clock, client, make, bundle, serial, newToken, changes } = await setUp();
    const enrolment = make();
    await enrolment.start();
    const [before, own] = [bundle(), serial()];
    client.authority = (await testMeshAuthority({ clock })).authority;
    await client.authority.close();
    await newToken();
    await clock.advance(11 * hour);
    const asked = client.asked;
    await until(async () => {
      await clock.advance(minute);
      return client.asked > asked + 2;
    });
    assert.deepEqual([bundle(), serial(), changes()], [before, own, 1]);
    assert.ok(client.asked > 1, 'it has asked');
    await enrolment.close();
  });
});
