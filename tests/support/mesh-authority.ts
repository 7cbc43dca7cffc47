import 'reflect-metadata';
import { randomBytes } from 'node:crypto';
import type { Clock } from '../../shared/clock/clock.js';
import { FakeClock } from '../../shared/clock/fake-clock.js';
import { silentLogger } from '../../shared/telemetry/logger.js';
import { CertificateAuthority, type CertificateAuthorityDependencies } from '../../control-plane/ca/certificate-authority.js';
import { caSchema } from '../../control-plane/ca/config.js';
import { memoryDocument } from '../../control-plane/ca/state.js';

/** A certificate authority of `shop.internal` on a fake clock, in memory. */
export async function testMeshAuthority({ clock = new FakeClock(), config = {}, ...dependencies }: { clock?: Clock; config?: object } & Partial<Omit<CertificateAuthorityDependencies, 'clock'>> = {}): Promise<{ authority: CertificateAuthority; clock: Clock }> {
  const used = new Set<string>();
  const once = { use: async (id: string): Promise<boolean> => !used.has(id) && used.add(id).has(id) };
  const authority = await CertificateAuthority.open(caSchema.parse({ trustDomain: 'shop.internal', ...config }), {
    document: memoryDocument(),
    once,
    leadership: { isLeader: true, leader: undefined },
    identities: () => [],
    clock,
    random: randomBytes,
    logger: silentLogger,
    ...dependencies,
  });
  return { authority, clock };
}
