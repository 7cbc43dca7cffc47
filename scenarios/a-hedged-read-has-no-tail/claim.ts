import { ms, times } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';

const rate = 25;
const slowMs = 500;
const delayMs = 60;
const ways = ['outside', 'inside'] as const;
type Way = (typeof ways)[number];

const measured = (facts: Facts): string => ways.map((way) => `${way}: p50 ${ms(facts[`${way}P50`]!)}, p99 ${ms(facts[`${way}P99`]!)}, ${times(facts[`${way}Load`]!)} the load`).join('; ');
const isAnswered = ({ success }: Facts): boolean => success! > 0.99;
/** A third of the requests wait for the slow instance; with a hedge they wait for the delay, and for the noise of the machine. */
const hasTail = (facts: Facts, way: Way): boolean => facts[`${way}P99`]! >= slowMs * 0.95 && facts[`${way}Load`] === 1;
const hasNoTail = (facts: Facts, way: Way): boolean => facts[`${way}P99`]! < slowMs * 0.7 && facts[`${way}Load`]! > 1.15 && facts[`${way}Load`]! < 1.6;

/** A second request to another instance, and what it takes: another instance to choose. */
export const aHedgedReadHasNoTail: Claim = {
  name: 'a-hedged-read-has-no-tail',
  title: 'A hedged read has no tail',
  statement: `One of three instances of inventory takes ${slowMs} ms. After ${delayMs} ms the policy asks a second one, and takes the answer that comes first. Requests go to the instances in turn, so that it is the hedge that is judged and not the balancer, which would avoid the slow one. The gateway hedges what clients ask of inventory; of orders there is one instance, so it has nothing to hedge a slow order with. The sidecar beside orders has: it sees the three.`,
  reading: 'Both: the gateway is the gatekeeper, and the sidecar is what orders sends its outgoing calls through.',
  policies: () => [{ name: 'hedge', services: ['orders', 'inventory'], spec: { hedge: { delay: `${delayMs}ms` }, balance: { algorithm: 'round-robin' } } }],
  async run(session, placement) {
    const units = session.instances('inventory', placement);
    const paths = { outside: { targets: session.entry('inventory', placement), path: '/stock/teapot' }, inside: { targets: session.entry('orders', placement), path: '/orders/7' } };
    const classes = ways.map((way) => ({ name: way, rate, ...paths[way], headers: [{ 'x-lab-tag': way }] }));
    await session.load({ warmupMs: 0, durationMs: 600, classes });
    await session.setFault(units[1]!, { latencyMs: slowMs });
    await session.resetStats();
    const steady = await session.load({ warmupMs: 0, durationMs: 4_500, classes });
    const { byTag } = await session.received(units);
    return {
      facts: {
        success: steady.all.succeeded / steady.all.offered,
        ...Object.fromEntries(steady.classes.flatMap(({ name, latency, sent }) => [[`${name}P50`, latency.p50], [`${name}P99`, latency.p99], [`${name}Load`, (byTag[name] ?? 0) / sent]])),
      },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'both ways have the tail of the slow instance', holds: (facts) => isAnswered(facts) && hasTail(facts, 'outside') && hasTail(facts, 'inside'), measured },
    { placement: 'ambassador', text: 'clients of inventory have no tail, for a third more load; orders has it still', holds: (facts) => isAnswered(facts) && hasNoTail(facts, 'outside') && hasTail(facts, 'inside'), measured },
    { placement: 'sidecar', text: 'orders has no tail, for a third more load; clients of inventory have it still', holds: (facts) => isAnswered(facts) && hasTail(facts, 'outside') && hasNoTail(facts, 'inside'), measured },
    { placement: 'both', text: 'neither way has a tail', holds: (facts) => isAnswered(facts) && hasNoTail(facts, 'outside') && hasNoTail(facts, 'inside'), measured },
  ],
  columns: [
    { title: 'clients’ p99', value: ({ outsideP99 }) => ms(outsideP99!) },
    { title: 'their load', value: ({ outsideLoad }) => times(outsideLoad!) },
    { title: 'orders’ p99', value: ({ insideP99 }) => ms(insideP99!) },
    { title: 'its load', value: ({ insideLoad }) => times(insideLoad!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `With one of three instances slow, p99 was ${ms(none['outsideP99']!)} for clients of inventory and ${ms(none['insideP99']!)} for orders.`,
    `A hedge at the ambassador made it ${ms(ambassador['outsideP99']!)} for clients, with ${times(ambassador['outsideLoad']!)} the requests, and left orders at ${ms(ambassador['insideP99']!)}.`,
    `In the sidecars it made it ${ms(sidecar['insideP99']!)} for orders, with ${times(sidecar['insideLoad']!)} the requests, and left clients, who are nobody’s neighbour, at ${ms(sidecar['outsideP99']!)}; with both it was ${ms(both['outsideP99']!)} and ${ms(both['insideP99']!)}.`,
  ],
  charts: [
    { kind: 'bars', title: 'p99, one of three instances slow', unit: 'ms', series: [{ label: 'clients of inventory', fact: 'outsideP99' }, { label: 'clients of orders', fact: 'insideP99' }] },
    { kind: 'bars', title: 'Requests that inventory got, per request sent', unit: '×', series: [{ label: 'clients of inventory', fact: 'outsideLoad' }, { label: 'clients of orders', fact: 'insideLoad' }] },
  ],
};
