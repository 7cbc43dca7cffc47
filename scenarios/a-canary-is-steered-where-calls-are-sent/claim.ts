import { percent } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';

const canaryPercent = 10;
const rates = { share: 100, header: 20 };
const ways = ['outside', 'inside'] as const;
type Way = (typeof ways)[number];

const measured = (facts: Facts): string =>
  ways.map((way) => `${way}: ${percent(facts[`${way}Share`]!)} of all, ${percent(facts[`${way}Header`]!)} of those that asked for it`).join('; ');
/** A tenth of 350 requests is between 3% and 18% by four standard deviations to either side. */
const isSteered = (facts: Facts, way: Way): boolean => facts[`${way}Share`]! > 0.03 && facts[`${way}Share`]! < 0.18 && facts[`${way}Header`] === 1;
const isNotSteered = (facts: Facts, way: Way): boolean => facts[`${way}Share`] === 0 && facts[`${way}Header`] === 0;
const isAnswered = ({ success }: Facts): boolean => success! > 0.99;

/** Who sends a request decides which version gets it, and nobody else can. */
export const aCanaryIsSteeredWhereCallsAreSent: Claim = {
  name: 'a-canary-is-steered-where-calls-are-sent',
  title: 'A canary is steered where calls are sent',
  statement: `The inventory has a second version. ${canaryPercent}% of the requests are to go to it, and all that carry X-Canary: always. It is asked by two ways: by clients, through the front door, and by orders, from inside. The gateway sends the first and never sees the second; the sidecar beside orders sends the second and never sees the first. The field reaches it because orders passes it on.`,
  reading: 'Both: the gateway is the gatekeeper, and the sidecar is what orders sends its outgoing calls through.',
  policies: () => [
    {
      name: 'canary',
      services: ['inventory'],
      spec: {
        split: [{ upstream: 'inventory', weight: 100 - canaryPercent }, { upstream: 'inventory-v2', weight: canaryPercent }],
        divert: [{ match: { headers: { 'x-canary': 'always' } }, upstream: 'inventory-v2' }],
      },
    },
  ],
  async run(session, placement) {
    const paths = { outside: { targets: session.entry('inventory', placement), path: '/stock/teapot' }, inside: { targets: session.entry('orders', placement), path: '/orders/7' } };
    const steady = await session.load({
      warmupMs: 0,
      durationMs: 3_500,
      classes: ways.flatMap((way) => [
        { name: `${way}, any`, rate: rates.share, ...paths[way], headers: [{ 'x-lab-tag': `${way}Share` }] },
        { name: `${way}, X-Canary`, rate: rates.header, ...paths[way], headers: [{ 'x-lab-tag': `${way}Header`, 'x-canary': 'always' }] },
      ]),
    });
    const [first, second] = await Promise.all([session.received(session.instances('inventory', placement)), session.received(session.instances('inventory-v2', placement))]);
    const share = (tag: string): number => (second.byTag[tag] ?? 0) / Math.max(1, (first.byTag[tag] ?? 0) + (second.byTag[tag] ?? 0));
    return {
      facts: { ...Object.fromEntries(ways.flatMap((way) => [`${way}Share`, `${way}Header`]).map((tag) => [tag, share(tag)])), success: steady.all.succeeded / steady.all.offered },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'the second version gets nothing', holds: (facts) => isAnswered(facts) && isNotSteered(facts, 'outside') && isNotSteered(facts, 'inside'), measured },
    { placement: 'ambassador', text: `about ${canaryPercent}% of what clients send, and all that asks for it; nothing that orders sends`, holds: (facts) => isAnswered(facts) && isSteered(facts, 'outside') && isNotSteered(facts, 'inside'), measured },
    { placement: 'sidecar', text: `about ${canaryPercent}% of what orders sends, and all that asks for it; nothing that clients send`, holds: (facts) => isAnswered(facts) && isNotSteered(facts, 'outside') && isSteered(facts, 'inside'), measured },
    { placement: 'both', text: `about ${canaryPercent}% of both, and all that asks for it`, holds: (facts) => isAnswered(facts) && isSteered(facts, 'outside') && isSteered(facts, 'inside'), measured },
  ],
  columns: [
    { title: 'canary’s share of clients’', value: ({ outsideShare }) => percent(outsideShare!) },
    { title: 'with X-Canary', value: ({ outsideHeader }) => percent(outsideHeader!) },
    { title: 'of orders’ calls', value: ({ insideShare }) => percent(insideShare!) },
    { title: 'with X-Canary', value: ({ insideHeader }) => percent(insideHeader!) },
  ],
  sentences: ({ ambassador, sidecar, both }) => [
    `The ambassador sent ${percent(ambassador['outsideShare']!)} of the clients’ requests to the second version, and ${percent(ambassador['outsideHeader']!)} of those that asked for it; of orders’ calls ${percent(ambassador['insideShare']!)} and ${percent(ambassador['insideHeader']!)}.`,
    `The sidecar beside orders sent ${percent(sidecar['insideShare']!)} and ${percent(sidecar['insideHeader']!)} of orders’ calls there; of the clients’ requests, which do not pass it, ${percent(sidecar['outsideShare']!)} and ${percent(sidecar['outsideHeader']!)} went.`,
    `With both it was ${percent(both['outsideShare']!)} of the clients’ requests and ${percent(both['insideShare']!)} of orders’ calls, of an intended ${canaryPercent}%.`,
  ],
  charts: [
    { kind: 'bars', title: `The second version’s share (intended: ${canaryPercent}%)`, unit: '', series: [{ label: 'of clients’ requests', fact: 'outsideShare' }, { label: 'of orders’ calls', fact: 'insideShare' }] },
    { kind: 'bars', title: 'Its share of those that asked for it', unit: '', series: [{ label: 'of clients’ requests', fact: 'outsideHeader' }, { label: 'of orders’ calls', fact: 'insideHeader' }] },
  ],
};
