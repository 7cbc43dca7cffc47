import { labIdentity } from '../lab/declaration.js';
import { count, percent } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';

const rates = { allowed: 30, forbidden: 30 };

const measured = ({ allowed, forbidden, forbiddenReached }: Facts): string => `${percent(allowed!)} of orders’ calls answered; ${count(forbiddenReached!)} of ${count(forbidden!)} calls of users reached payments`;
const isAllowed = ({ allowed }: Facts): boolean => allowed! > 0.99;
const isOpen = (facts: Facts): boolean => isAllowed(facts) && facts['forbiddenReached'] === facts['forbidden'];
const isClosed = (facts: Facts): boolean => isAllowed(facts) && facts['forbiddenReached'] === 0;

/** Who may call whom can be checked only where the call passes, and only of callers that have proven who they are. */
export const servicesCallOnlyWhomTheyMay: Claim = {
  name: 'services-call-only-whom-they-may',
  title: 'Services call only whom they may',
  statement:
    'Only orders may ask payments for money. The shop’s users service has a shortcut: it asks payments by itself, in the middle of the network. A policy says who may call payments, by the identity that the caller’s certificate proves, by method and by path. What orders asks for must go on; what users asks for must not get there.',
  reading: 'The ambassador as gatekeeper at the edge.',
  policies: () => [
    { name: 'identity', services: ['payments'], spec: { mtls: { mode: 'strict' } } },
    {
      name: 'who-may-pay',
      services: ['payments'],
      spec: { authorization: { default: 'deny', rules: [{ name: 'orders', action: 'allow', from: { identities: [labIdentity('orders')] }, methods: ['POST'], paths: ['/payments'] }] } },
    },
  ],
  async run(session, placement) {
    const post = { method: 'POST' as const, body: JSON.stringify({ amount: 10 }) };
    const fields = (tag: string): Record<string, string>[] => [{ 'content-type': 'application/json', 'x-lab-tag': tag }];
    const steady = await session.load({
      warmupMs: 1_000,
      durationMs: 3_000,
      classes: [
        { name: 'orders pays', rate: rates.allowed, targets: session.entry('orders', placement), path: '/orders', headers: fields('allowed'), ...post },
        { name: 'users pays', rate: rates.forbidden, targets: session.entry('users', placement), path: '/users/alice/payments', headers: fields('forbidden'), ...post },
      ],
    });
    const { byTag } = await session.received(session.instances('payments', placement));
    const [allowed, forbidden] = steady.classes;
    return {
      facts: { allowed: allowed!.succeeded / Math.max(1, allowed!.offered), forbidden: forbidden!.sent, forbiddenReached: Math.min(byTag['forbidden'] ?? 0, forbidden!.sent) },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'everybody may call everybody', holds: isOpen, measured },
    { placement: 'ambassador', text: 'the same: what services ask of each other does not pass the gateway', holds: isOpen, measured },
    { placement: 'sidecar', text: 'orders goes on, users does not get there', holds: isClosed, measured },
    { placement: 'both', text: 'orders goes on, users does not get there', holds: isClosed, measured },
  ],
  columns: [
    { title: 'orders’ calls, answered', value: ({ allowed }) => percent(allowed!) },
    { title: 'users’ calls that reached payments', value: ({ forbiddenReached, forbidden }) => `${count(forbiddenReached!)} of ${count(forbidden!)}` },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `With the policy at the ambassador ${count(ambassador['forbiddenReached']!)} of ${count(ambassador['forbidden']!)} calls that were not allowed reached payments, and without any ${count(none['forbiddenReached']!)} of ${count(none['forbidden']!)}: neither sees what services ask of each other.`,
    `With the policy in the sidecars it was ${count(sidecar['forbiddenReached']!)} of ${count(sidecar['forbidden']!)}, with both ${count(both['forbiddenReached']!)} of ${count(both['forbidden']!)}; ${percent(sidecar['allowed']!)} and ${percent(both['allowed']!)} of orders’ calls were answered.`,
  ],
  charts: [{ kind: 'bars', title: 'Calls of users that reached payments', unit: 'requests', series: [{ label: 'not allowed, and there', fact: 'forbiddenReached' }] }],
};
