import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import type { Clock } from '../../shared/clock/clock.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { testMeshAuthority } from '../../tests/support/mesh-authority.js';
import { ServingCertificate } from './serving-certificate.js';

const hour = 3_600_000;

for (const [name, sleptMs, passedMs] of [['the monotonic clock', 0, 12 * hour], ['the wall clock alone, as where a machine slept', 12 * hour, 0]] as const) {
  test(`the control plane’s own certificate is exchanged when half of its life is over by ${name}`, async () => {
    const fake = new FakeClock();
    let slept = 0;
    const clock: Clock = { now: () => fake.now(), wallNow: () => fake.wallNow() + slept, after: (ms, callback) => fake.after(ms, callback) };
    const { authority } = await testMeshAuthority({ clock });
    await authority.close();
    const serving = await ServingCertificate.open(authority, ['127.0.0.1'], { clock, random: randomBytes, logger: silentLogger });
    const serial = (): string => new X509Certificate(serving.pair.cert).serialNumber;
    const first = serial();
    await fake.advance(5_000);
    assert.equal(serial(), first);
    const exchanged = new Promise<void>((resolve) => serving.onChange(() => resolve()));
    slept = sleptMs;
    await fake.advance(passedMs + 5_000);
    await exchanged;
    assert.notEqual(serial(), first);
    serving.close();
  });
}
