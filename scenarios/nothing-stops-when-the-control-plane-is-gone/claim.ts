import { count, percent } from '../runner/format.js';
import type { Claim, Facts, Placement } from '../runner/claim.js';
import { forge } from '../forged-tokens-stop-at-the-edge/forge.js';

const validRate = 60;
const forgedRate = 30;

const measured = ({ success, forged, forgedReached }: Facts): string => `${percent(success!)} of valid requests answered, ${count(forgedReached!)} of ${count(forged!)} forged ones reached the application`;
const nothingStops = ({ success, back }: Facts): boolean => success === 1 && back === 1;

/** Who decides about a request must not need anybody who decides about configuration. */
export const nothingStopsWhenTheControlPlaneIsGone: Claim = {
  name: 'nothing-stops-when-the-control-plane-is-gone',
  title: 'Nothing stops when the control plane is gone',
  statement:
    'One place tells every proxy what to do, and that place is killed while traffic flows. It stays away for three seconds, longer than the leases of the instances, and comes back by itself. Requests must be answered all the while, tokens checked all the while, and no instance forgotten.',
  reading: 'Both: the gatekeeper and the helpers follow the same control plane.',
  policies: (session) => [
    {
      name: 'tokens',
      services: ['orders'],
      spec: { jwt: { issuer: session.issuer, audience: 'shop', jwksUri: `${session.issuer}/.well-known/jwks.json`, algorithms: ['RS256'], requiredScopes: ['orders:read'] } },
    },
  ],
  async run(session, placement) {
    const targets = session.entry('orders', placement);
    const [valid, forged] = await Promise.all([session.token({ sub: 'alice', scope: 'orders:read' }), forge(session).then((tokens) => tokens['wrong-key'])]);
    const fields = (token: string, tag: string): Record<string, string> => ({ authorization: `Bearer ${token}`, 'x-lab-tag': tag });
    const running = await session.start({
      warmupMs: 300,
      durationMs: 6_000,
      classes: [
        { name: 'valid', rate: validRate, targets, path: '/orders/7', headers: [fields(valid, 'valid')] },
        { name: 'forged', rate: forgedRate, targets, path: '/orders/7', headers: [fields(forged, 'forged')] },
      ],
    });
    const killed = session.killControlPlane();
    const steady = await running.result;
    await killed;
    await session.untilControlPlaneIsBack();
    const { byTag } = await session.received(session.instances('orders', placement));
    const [first, second] = steady.classes;
    return {
      facts: { success: first!.succeeded / Math.max(1, first!.offered), forged: second!.sent, forgedReached: Math.min(byTag['forged'] ?? 0, second!.sent), back: 1 },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'every valid request is answered; forged ones reach the application, as always', holds: (facts) => nothingStops(facts) && facts['forgedReached'] === facts['forged'], measured },
    ...(['ambassador', 'sidecar', 'both'] as const satisfies readonly Placement[]).map((placement) => ({
      placement, text: 'every valid request is answered, and no forged one gets in', holds: (facts: Facts) => nothingStops(facts) && facts['forgedReached'] === 0, measured,
    })),
  ],
  columns: [
    { title: 'valid, answered', value: ({ success }) => percent(success!) },
    { title: 'forged, reached the application', value: ({ forgedReached, forged }) => `${count(forgedReached!)} of ${count(forged!)}` },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `While the control plane was gone and came back, the ambassador answered ${percent(ambassador['success']!)} of the valid requests, sidecars ${percent(sidecar['success']!)}, both together ${percent(both['success']!)}; without proxies it was ${percent(none['success']!)}.`,
    `${count(ambassador['forgedReached']! + sidecar['forgedReached']! + both['forgedReached']!)} of ${count(ambassador['forged']! + sidecar['forged']! + both['forged']!)} forged requests reached an application behind a proxy in that time.`,
  ],
  charts: [{ kind: 'timeline', title: 'Requests a quarter of a second, with the control plane killed at the start', load: 'steady' }],
};
