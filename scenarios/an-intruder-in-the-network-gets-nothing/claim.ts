import { count, percent } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';
import { labIdentity } from '../lab/declaration.js';
import { disguises, intrude, type Disguise } from './intruder.js';

const attempts = 20;
/** Names of facts. */
const answeredAs: Readonly<Record<Disguise, string>> = { plaintext: 'plaintext', 'no certificate': 'bareTls', 'forged certificate': 'forged' };

const measured = (facts: Facts): string => `${disguises.map((disguise) => `${disguise}: ${count(facts[answeredAs[disguise]]!)} of ${attempts} answered`).join(', ')}; ${count(facts['reached']!)} reached the application; ${percent(facts['success']!)} of the shop’s own requests answered`;
const isWorking = ({ success }: Facts): boolean => success === 1;
const isOpen = (facts: Facts): boolean => facts['plaintext'] === attempts && facts['reached'] === attempts;
const isClosed = (facts: Facts): boolean => disguises.every((disguise) => facts[answeredAs[disguise]] === 0) && facts['reached'] === 0;

/** What guards the door does not guard the rooms. */
export const anIntruderInTheNetworkGetsNothing: Claim = {
  name: 'an-intruder-in-the-network-gets-nothing',
  title: 'An intruder in the network gets nothing',
  statement: `Somebody is inside: in a container next to the shop’s, with a stolen shell, and calls the inventory straight away. ${attempts} times each in plaintext, by TLS without a certificate, and by TLS with a certificate that says the right name and that nobody but the intruder has signed. Identity is asked for where the policy is placed; the shop’s own requests must go on.`,
  reading: 'The ambassador as gatekeeper at the edge.',
  policies: () => [{ name: 'identity', services: ['inventory'], spec: { mtls: { mode: 'strict' } } }],
  async run(session, placement) {
    const running = session.load({ warmupMs: 200, durationMs: 3_000, classes: [{ name: 'the shop’s own', rate: 60, targets: session.entry('orders', placement), path: '/orders/7', headers: [{ 'x-lab-tag': 'own' }] }] });
    const [target] = session.inside('inventory', placement);
    const outcomes: Record<string, number> = {};
    for (const disguise of disguises) outcomes[answeredAs[disguise]] = (await intrude(target!, '/stock/teapot', disguise, labIdentity('orders'), attempts, 'intruder')).answered;
    const steady = await running;
    const { byTag } = await session.received(session.instances('inventory', placement));
    return { facts: { ...outcomes, reached: byTag['intruder'] ?? 0, success: steady.all.succeeded / Math.max(1, steady.all.offered) }, loads: { steady } };
  },
  expectations: [
    { placement: 'none', text: 'whoever speaks HTTP is served', holds: (facts) => isWorking(facts) && isOpen(facts), measured },
    { placement: 'ambassador', text: 'the same: the intruder does not come through the front door', holds: (facts) => isWorking(facts) && isOpen(facts), measured },
    { placement: 'sidecar', text: 'nothing of it reaches the application', holds: (facts) => isWorking(facts) && isClosed(facts), measured },
    { placement: 'both', text: 'nothing of it reaches the application', holds: (facts) => isWorking(facts) && isClosed(facts), measured },
  ],
  columns: [
    { title: 'in plaintext', value: ({ plaintext }) => `${count(plaintext!)} of ${attempts}` },
    { title: 'TLS, no certificate', value: ({ bareTls }) => `${count(bareTls!)} of ${attempts}` },
    { title: 'forged certificate', value: ({ forged }) => `${count(forged!)} of ${attempts}` },
    { title: 'own requests', value: ({ success }) => percent(success!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `With the ambassador alone ${count(ambassador['plaintext']!)} of ${attempts} calls from inside were answered, as many as without any proxy (${count(none['plaintext']!)}).`,
    `Sidecars that ask for identity answered ${count(sidecar['plaintext']! + sidecar['bareTls']! + sidecar['forged']!)} of ${3 * attempts}, with the ambassador in front ${count(both['plaintext']! + both['bareTls']! + both['forged']!)}; ${percent(sidecar['success']!)} and ${percent(both['success']!)} of the shop’s own requests went on.`,
  ],
  charts: [{ kind: 'bars', title: 'The intruder’s requests that were answered', unit: 'requests', series: [{ label: 'in plaintext', fact: 'plaintext' }, { label: 'TLS, no certificate', fact: 'bareTls' }, { label: 'forged certificate', fact: 'forged' }] }],
};
