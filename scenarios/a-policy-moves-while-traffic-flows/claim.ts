import { forge } from '../forged-tokens-stop-at-the-edge/forge.js';
import { count, percent } from '../runner/format.js';
import type { Claim, ClaimPolicy, Facts, Placement } from '../runner/claim.js';
import { until, type LabSession } from '../runner/session.js';

const validRate = 60;
const forgedRate = 60;
/** Where the policy is moved to in the middle of the run, by where it was before. */
const moves: Readonly<Record<Placement, Placement>> = { none: 'none', ambassador: 'sidecar', sidecar: 'ambassador', both: 'sidecar' };

const refusals = /^proxy_errors_total\{listener="(edge|inbound)",code="token_(invalid|expired|missing)"\}/;

function tokens(session: LabSession): ClaimPolicy {
  return {
    name: 'tokens',
    services: ['orders'],
    spec: { jwt: { issuer: session.issuer, audience: 'shop', jwksUri: `${session.issuer}/.well-known/jwks.json`, algorithms: ['RS256'], requiredScopes: ['orders:read'] } },
  };
}

const measured = ({ success, forged, forgedReached, refusedByGateway, refusedBySidecars, movedMs }: Facts): string =>
  `${percent(success!)} of valid requests answered; ${count(forgedReached!)} of ${count(forged!)} forged ones got in; the gateway refused ${count(refusedByGateway!)}, sidecars ${count(refusedBySidecars!)}; moved in ${count(movedMs!)} ms`;
const isLossless = ({ success, movedMs }: Facts): boolean => success === 1 && movedMs! < 1_000;

/** A placement is a line of configuration, and changing it is no deployment. */
export const aPolicyMovesWhileTrafficFlows: Claim = {
  name: 'a-policy-moves-while-traffic-flows',
  title: 'A policy moves while traffic flows',
  statement:
    'A decision about placement should be one that can be taken back. The check of tokens is moved in the middle of the traffic: from the ambassador to the sidecars, from the sidecars to the ambassador, from both to the sidecars alone. No valid request may be lost, and no forged one may slip through between the two places. Everything comes through the gateway and then a sidecar, whatever the placement.',
  reading: 'The ambassador as gatekeeper at the edge.',
  group: 'meshed',
  policies: (session) => [tokens(session)],
  async run(session, placement) {
    const targets = [session.lab.url('gateway', 'http')];
    const [valid, forged] = await Promise.all([session.token({ sub: 'alice', scope: 'orders:read' }), forge(session).then((all) => all['wrong-key'])]);
    const fields = (token: string, tag: string): Record<string, string> => ({ authorization: `Bearer ${token}`, 'x-lab-tag': tag });
    const refused = async (): Promise<[number, number]> => [await session.metric('gateway', refusals), await session.metric('sidecar', refusals)];
    const before = await refused();
    const running = await session.start({
      warmupMs: 0,
      durationMs: 4_000,
      classes: [
        { name: 'valid', rate: validRate, targets, path: '/orders/7', headers: [fields(valid, 'valid')] },
        { name: 'forged', rate: forgedRate, targets, path: '/orders/7', headers: [fields(forged, 'forged')] },
      ],
    });
    await until(running.begunAt + 2_000);
    const startedAt = performance.now();
    await session.place(tokens(session), moves[placement]);
    const movedMs = performance.now() - startedAt;
    const steady = await running.result;
    const after = await refused();
    const { byTag } = await session.received(session.instances('orders', 'sidecar'));
    const [first, second] = steady.classes;
    return {
      facts: {
        success: first!.succeeded / Math.max(1, first!.offered),
        forged: second!.sent, forgedReached: Math.min(byTag['forged'] ?? 0, second!.sent),
        refusedByGateway: after[0] - before[0], refusedBySidecars: after[1] - before[1],
        movedMs,
      },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'nothing is lost, and every forged request gets in: there is nothing to move', holds: (facts) => isLossless(facts) && facts['forgedReached'] === facts['forged'], measured },
    { placement: 'ambassador', text: 'nothing is lost and nothing slips through; the gateway refuses first, then sidecars', holds: (facts) => isLossless(facts) && facts['forgedReached'] === 0 && facts['refusedByGateway']! > 0 && facts['refusedBySidecars']! > 0, measured },
    { placement: 'sidecar', text: 'nothing is lost and nothing slips through; sidecars refuse first, then the gateway', holds: (facts) => isLossless(facts) && facts['forgedReached'] === 0 && facts['refusedByGateway']! > 0 && facts['refusedBySidecars']! > 0, measured },
    { placement: 'both', text: 'nothing is lost and nothing slips through; the gateway refuses until sidecars are alone', holds: (facts) => isLossless(facts) && facts['forgedReached'] === 0 && facts['refusedByGateway']! > 0 && facts['refusedBySidecars']! > 0, measured },
  ],
  columns: [
    { title: 'valid, answered', value: ({ success }) => percent(success!) },
    { title: 'forged, got in', value: ({ forgedReached, forged }) => `${count(forgedReached!)} of ${count(forged!)}` },
    { title: 'refused by gateway / sidecars', value: ({ refusedByGateway, refusedBySidecars }) => `${count(refusedByGateway!)} / ${count(refusedBySidecars!)}` },
    { title: 'moved in', value: ({ movedMs }) => `${count(movedMs!)} ms` },
  ],
  sentences: ({ ambassador, sidecar, both }) => [
    `Moving the check from the ambassador to the sidecars took ${count(ambassador['movedMs']!)} ms, back ${count(sidecar['movedMs']!)} ms; ${percent(Math.min(ambassador['success']!, sidecar['success']!, both['success']!))} of the valid requests were answered in the meantime.`,
    `Of ${count(ambassador['forged']! + sidecar['forged']! + both['forged']!)} forged requests ${count(ambassador['forgedReached']! + sidecar['forgedReached']! + both['forgedReached']!)} slipped through.`,
  ],
  charts: [{ kind: 'bars', title: 'Who refused forged requests, before and after the move', unit: 'requests', series: [{ label: 'the gateway', fact: 'refusedByGateway' }, { label: 'sidecars', fact: 'refusedBySidecars' }] }],
};
