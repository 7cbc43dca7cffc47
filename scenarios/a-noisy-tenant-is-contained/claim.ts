import { count, ms, percent } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';

const quota = 20;
const noisyRate = quota * 20;
const quietRate = 15;
const quiet = ['tenant-a', 'tenant-b', 'tenant-c'] as const;
const instances = 3;
/** 2 slots × 20 ms: each instance manages 100 requests a second, the three of them 300. */
const capacity = { slots: 2, workMs: 20 };

const measured = ({ othersP99, othersSuccess, noisyAdmittedRate }: Facts): string =>
  `others: p99 ${ms(othersP99!)}, ${percent(othersSuccess!)} answered; the noisy one got ${count(noisyAdmittedRate!)}/s`;
const othersAreFine = ({ othersP99, othersSuccess }: Facts): boolean => othersSuccess! >= 0.99 && othersP99! < 250;

/** One counter at the edge, or a counter in front of each instance. */
export const aNoisyTenantIsContained: Claim = {
  name: 'a-noisy-tenant-is-contained',
  title: 'A noisy tenant is contained',
  statement: `One tenant sends 20 times its quota of ${quota} requests a second, to a service that manages 300 a second on three instances. Three other tenants keep within theirs. A quota at the edge is counted once; in sidecars each instance counts for itself, and admits the quota for itself.`,
  reading: 'The ambassador as gatekeeper at the edge.',
  policies: (session) => [
    { name: 'tokens', services: ['inventory'], spec: { jwt: { issuer: session.issuer, audience: 'shop', jwksUri: `${session.issuer}/.well-known/jwks.json`, algorithms: ['RS256'] } } },
    { name: 'quota', services: ['inventory'], spec: { rateLimit: { max: quota, timeWindow: '1s', key: 'sub' } } },
  ],
  async run(session, placement) {
    const units = session.instances('inventory', placement);
    const targets = session.entry('inventory', placement);
    await Promise.all(units.map((unit) => session.setFault(unit, { capacity })));
    const traffic = async (tenant: string, rate: number): Promise<{ name: string; rate: number; targets: string[]; path: string; headers: Record<string, string>[] }> => ({
      name: tenant, rate, targets, path: '/stock/teapot', headers: [{ authorization: `Bearer ${await session.token({ sub: tenant })}`, 'x-lab-client': tenant }],
    });
    const steady = await session.load({
      warmupMs: 1_000,
      durationMs: 4_000,
      classes: [await traffic('noisy', noisyRate), ...(await Promise.all(quiet.map((tenant) => traffic(tenant, quietRate))))],
    });
    const [noisy, ...others] = steady.classes;
    const sent = others.reduce((sum, { offered }) => sum + offered, 0);
    return {
      facts: {
        othersP50: Math.max(...others.map(({ latency }) => latency.p50)), othersP99: Math.max(...others.map(({ latency }) => latency.p99)),
        othersSuccess: others.reduce((sum, { succeeded }) => sum + succeeded, 0) / sent,
        noisyAdmittedRate: noisy!.succeededRate, noisyRefused: noisy!.statuses['429'] ?? 0,
      },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'the other tenants suffer: p99 above 250 ms, or requests lost', holds: (facts) => !othersAreFine(facts), measured },
    { placement: 'ambassador', text: 'the others are fine, and the noisy one gets its quota', holds: (facts) => othersAreFine(facts) && within(facts['noisyAdmittedRate']!, quota, quota * 1.5), measured },
    { placement: 'sidecar', text: 'the others are fine, and the noisy one gets its quota at each of three instances', holds: (facts) => othersAreFine(facts) && within(facts['noisyAdmittedRate']!, quota * instances, quota * instances * 1.5), measured },
    { placement: 'both', text: 'the others are fine, and the noisy one gets its quota', holds: (facts) => othersAreFine(facts) && within(facts['noisyAdmittedRate']!, quota, quota * 1.5), measured },
  ],
  columns: [
    { title: 'others’ p99', value: ({ othersP99 }) => ms(othersP99!) },
    { title: 'others answered', value: ({ othersSuccess }) => percent(othersSuccess!) },
    { title: `noisy admitted (quota ${quota}/s)`, value: ({ noisyAdmittedRate }) => `${count(noisyAdmittedRate!)}/s` },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `Without a quota the other tenants’ p99 was ${ms(none['othersP99']!)} and ${percent(none['othersSuccess']!)} of their requests were answered.`,
    `With the quota at the ambassador their p99 was ${ms(ambassador['othersP99']!)}, in sidecars ${ms(sidecar['othersP99']!)}, in both ${ms(both['othersP99']!)}.`,
    `Of a quota of ${quota} a second the noisy tenant got ${count(ambassador['noisyAdmittedRate']!)} at the ambassador’s one counter and ${count(sidecar['noisyAdmittedRate']!)} at the sidecars’ three.`,
  ],
  charts: [
    { kind: 'bars', title: 'What the other tenants feel', unit: 'ms', series: [{ label: 'p50', fact: 'othersP50' }, { label: 'p99', fact: 'othersP99' }] },
    { kind: 'bars', title: `What the noisy tenant gets (quota: ${quota}/s)`, unit: 'requests/s', series: [{ label: 'admitted', fact: 'noisyAdmittedRate' }] },
  ],
};

/** A fixed window that the run does not start with may admit up to one window's worth more. */
function within(value: number, low: number, high: number): boolean {
  return value >= low * 0.7 && value <= high;
}
