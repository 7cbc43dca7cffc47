import { count, percent } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';
import type { LabSession } from '../runner/session.js';
import type { TrafficClass } from '../load/spec.js';
import { forge, forgeries } from './forge.js';

const forgedRate = 20;
const validRate = 50;

async function trafficFrom(way: 'outside' | 'inside', targets: readonly string[], session: LabSession): Promise<TrafficClass[]> {
  const tokens = await forge(session);
  const fields = (token: string, tag: string): Record<string, string> => ({ authorization: `Bearer ${token}`, 'x-lab-tag': `${way}-${tag}` });
  const valid = await session.token({ sub: 'alice', scope: 'orders:read orders:write' });
  return [
    { name: `${way} valid`, rate: validRate, targets, path: '/orders/7', headers: [fields(valid, 'valid')] },
    ...forgeries.map((kind) => ({ name: `${way} ${kind}`, rate: forgedRate, targets, path: '/orders/7', headers: [fields(tokens[kind], 'forged')] })),
  ];
}

const fromOutsideReached = ({ outsideForgedReached, outsideForged }: Facts): string => `${count(outsideForgedReached!)} of ${count(outsideForged!)} from outside`;
const fromInsideReached = ({ insideForgedReached, insideForged }: Facts): string => `${count(insideForgedReached!)} of ${count(insideForged!)} from inside`;
const measured = (facts: Facts): string => `${fromOutsideReached(facts)}, ${fromInsideReached(facts)}; ${percent(facts['validSuccess']!)} of valid ones answered`;
const validPass = ({ validSuccess }: Facts): boolean => validSuccess === 1;

/** Where the token is checked decides which way in is guarded. */
export const forgedTokensStopAtTheEdge: Claim = {
  name: 'forged-tokens-stop-at-the-edge',
  title: 'Forged tokens stop at the edge',
  statement:
    'Expired tokens, tokens for another audience, signed with another key, with alg none, or without the scope must not reach an application. They come by two ways: through the front door, and from inside the network, straight to the service. The issuer rotates its keys in the middle of the run.',
  reading: 'The ambassador as gatekeeper at the edge.',
  policies: (session) => [
    {
      name: 'tokens',
      services: ['orders'],
      spec: { jwt: { issuer: session.issuer, audience: 'shop', jwksUri: `${session.issuer}/.well-known/jwks.json`, algorithms: ['RS256'], requiredScopes: ['orders:read'], cooldown: '1s' } },
    },
  ],
  async run(session, placement) {
    const phase = { warmupMs: 300, durationMs: 2_000 };
    const outside = session.entry('orders', placement);
    // What a run before left in the proxies' key caches must not decide: the load starts after a first rotation.
    await session.rotateKeys();
    const front = await session.load({ ...phase, classes: await trafficFrom('outside', outside, session) });
    await session.rotateKeys();
    const back = await session.load({ ...phase, classes: await trafficFrom('inside', session.inside('orders', placement), session) });
    const { byTag } = await session.received(session.instances('orders', placement));
    const forged = (load: typeof front): number => load.classes.slice(1).reduce((sum, { succeeded }) => sum + succeeded, 0);
    const sent = (load: typeof front): number => load.classes.slice(1).reduce((sum, { sent: number }) => sum + number, 0);
    const valid = [front.classes[0]!, back.classes[0]!];
    return {
      facts: {
        outsideForged: sent(front), insideForged: sent(back),
        outsideForgedReached: Math.min(byTag['outside-forged'] ?? 0, sent(front)), insideForgedReached: Math.min(byTag['inside-forged'] ?? 0, sent(back)),
        forgedAnswered: forged(front) + forged(back),
        validSuccess: valid.reduce((sum, { succeeded }) => sum + succeeded, 0) / valid.reduce((sum, { sent: number }) => sum + number, 0),
      },
      loads: { outside: front, inside: back },
    };
  },
  expectations: [
    { placement: 'none', text: 'every forged token reaches the application', holds: ({ outsideForged, outsideForgedReached, insideForged, insideForgedReached }) => outsideForgedReached === outsideForged && insideForgedReached === insideForged, measured },
    { placement: 'ambassador', text: 'none gets in from outside, all from inside; every valid one is answered', holds: (facts) => facts['outsideForgedReached'] === 0 && facts['insideForgedReached'] === facts['insideForged'] && validPass(facts), measured },
    { placement: 'sidecar', text: 'none gets in either way; every valid one is answered', holds: (facts) => facts['outsideForgedReached'] === 0 && facts['insideForgedReached'] === 0 && validPass(facts), measured },
    { placement: 'both', text: 'none gets in either way; every valid one is answered', holds: (facts) => facts['outsideForgedReached'] === 0 && facts['insideForgedReached'] === 0 && validPass(facts), measured },
  ],
  columns: [
    { title: 'forged, reached the application', value: fromOutsideReached },
    { title: '', value: fromInsideReached },
    { title: 'valid, answered', value: ({ validSuccess }) => percent(validSuccess!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `Without a check ${count(none['outsideForgedReached']! + none['insideForgedReached']!)} of ${count(none['outsideForged']! + none['insideForged']!)} forged requests reached the application.`,
    `The ambassador let ${fromOutsideReached(ambassador)} through, and saw none of those from inside: ${fromInsideReached(ambassador)} reached the application.`,
    `Sidecars let ${fromOutsideReached(sidecar)} and ${fromInsideReached(sidecar)} through; both together ${fromOutsideReached(both)} and ${fromInsideReached(both)}.`,
  ],
  charts: [
    { kind: 'bars', title: 'Forged requests that reached the application', unit: 'requests', series: [{ label: 'from outside', fact: 'outsideForgedReached' }, { label: 'from inside', fact: 'insideForgedReached' }] },
  ],
};
