import { percent, seconds } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';
import { until } from '../runner/session.js';
import type { RunningLoad } from '../load/load.js';
import { failedShare, slicesBetween } from '../load/slices.js';
import type { TrafficClass } from '../load/spec.js';

const rate = 30;
/** Long enough for a breaker that opened as the load began, which a busy machine brings about, to be closed again for most of it. */
const hangAtMs = 4_000;
/** Long enough that the other instance, which a busy machine makes late for a moment too, costs a small part of the calls. */
const healAtMs = 10_250;
const durationMs = 11_000;
const attemptTimeoutMs = 400;
/** A caller's own deadline, as orders has it too. */
const timeoutMs = 1_000;
/** Calls are sent this much later than they are due, at most, on a machine that is busy. */
const slackMs = 400;
const ways = ['outside', 'inside'] as const;
type Way = (typeof ways)[number];

const measured = (facts: Facts): string => ways.map((way) => `${way}: the busier instance had ${percent(facts[`${way}Share`]!)}, ${percent(facts[`${way}Failed`]!)} failed while it hung`).join('; ');
/** Two instances in turn have half of the calls each, unless one was spared for a moment on a busy machine; one that hangs costs each of its calls one attempt. */
const isSpread = (facts: Facts, way: Way): boolean => facts[`${way}Share`]! < 0.9 && facts[`${way}Failed`]! < 0.2;
const isPinned = (facts: Facts, way: Way): boolean => facts[`${way}Share`] === 1 && facts[`${way}Failed`]! > 0.4;

/** HTTP/2 puts many calls on one connection, and a connection is what clients and balancers of the fourth layer choose once. */
export const callsOnOneConnectionAreSpread: Claim = {
  name: 'calls-on-one-connection-are-spread',
  title: 'Calls on one connection are spread',
  statement: `Pricing has two instances and speaks gRPC. A client is told both, connects to the first, and puts every call on that connection for as long as it lives: gRPC’s default. The instance that has the calls hangs for ${seconds(healAtMs - hangAtMs)} with its connections open. A proxy that takes HTTP/2 apart chooses for each call. It does so without a policy too, and would then prefer the instance that answers sooner; the policy makes the choice even and says what becomes of a call that hangs: to take turns, an attempt timeout of ${attemptTimeoutMs} ms, two attempts, and a breaker for each endpoint. Clients call through the front door, orders from inside: whose proxy sends is who has the choice. A sidecar beside the instance that was chosen is too late.`,
  reading: 'Both: the gateway is the gatekeeper, and the sidecar is what orders sends its outgoing calls through.',
  policies: () => [
    {
      name: 'calls',
      services: ['pricing'],
      spec: {
        balance: { algorithm: 'round-robin' },
        attemptTimeout: `${attemptTimeoutMs}ms`,
        // To HTTP every call of gRPC is a POST; asking for a price may be repeated.
        retry: { attempts: 2, on: ['timeout', 'unavailable', 'refused', 'connect-failure', 'reset'], methods: ['POST'], backoff: { base: '5ms', max: '20ms' }, budget: { ratio: 1, minPerSecond: 100 } },
        breaker: { errorThreshold: 50, volumeThreshold: 5, window: '3s', resetTimeout: '1s' },
      },
    },
  ],
  async run(session, placement) {
    const units = session.instances('pricing', placement);
    const inside = { name: 'inside', rate, targets: session.entry('orders', placement), path: '/orders/7/price', headers: [{ 'x-lab-tag': 'inside' }] };
    await session.load({ warmupMs: 0, durationMs: 1_000, classes: [inside] });
    // Orders has its connection already; clients come with a new one each time, and get the same instance first.
    const counts = await Promise.all(units.map(async (unit) => (await session.stats(unit))?.byTag['inside'] ?? 0));
    const victim = counts.indexOf(Math.max(...counts));
    const entry = session.entry('pricing', placement);
    const targets = entry.length === 1 ? entry : [entry[victim]!, ...entry.filter((_, index) => index !== victim)];
    const outside = { name: 'outside', rate, protocol: 'grpc' as const, targets, path: 'teapot', headers: [{ 'x-lab-tag': 'outside' }] };
    await session.resetStats();
    const start = (traffic: TrafficClass): Promise<RunningLoad> => session.start({ warmupMs: 0, durationMs, timeoutMs, classes: [traffic] });
    const running = { outside: await start(outside), inside: await start(inside) };
    await until(running.inside.begunAt + hangAtMs);
    const received = await Promise.all(units.map((unit) => session.received([unit])));
    await session.setFault(units[victim]!, { hang: true });
    const hungAt = performance.now();
    await until(running.inside.begunAt + healAtMs);
    const healedAt = performance.now();
    await session.heal(units[victim]!);
    const loads = { outside: await running.outside.result, inside: await running.inside.result };
    return {
      facts: Object.fromEntries(
        ways.flatMap((way) => {
          const calls = received.map(({ byTag }) => byTag[way] ?? 0);
          const share = calls[victim]! / Math.max(1, calls.reduce((sum, count) => sum + count, 0));
          const slices = slicesBetween(running[way], loads[way], hungAt, healedAt - timeoutMs - slackMs);
          return [[`${way}Share`, Math.max(share, 1 - share)], [`${way}Failed`, failedShare(slices)]];
        }),
      ),
      loads,
    };
  },
  expectations: [
    { placement: 'none', text: 'one instance has all calls, and when it hangs over two fifths fail', holds: (facts) => isPinned(facts, 'outside') && isPinned(facts, 'inside'), measured },
    { placement: 'ambassador', text: 'clients’ calls are spread, and under a fifth fails; orders’ calls are all with one instance, and over two fifths fail', holds: (facts) => isSpread(facts, 'outside') && isPinned(facts, 'inside'), measured },
    { placement: 'sidecar', text: 'orders’ calls are spread, and under a fifth fails; clients’ calls are all with one instance, and over two fifths fail', holds: (facts) => isPinned(facts, 'outside') && isSpread(facts, 'inside'), measured },
    { placement: 'both', text: 'both are spread, and under a fifth fails', holds: (facts) => isSpread(facts, 'outside') && isSpread(facts, 'inside'), measured },
  ],
  columns: [
    { title: 'clients: busier instance', value: ({ outsideShare }) => percent(outsideShare!) },
    { title: 'failed', value: ({ outsideFailed }) => percent(outsideFailed!) },
    { title: 'orders: busier instance', value: ({ insideShare }) => percent(insideShare!) },
    { title: 'failed', value: ({ insideFailed }) => percent(insideFailed!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `Without a proxy one of two instances had ${percent(none['outsideShare']!)} of clients’ calls and ${percent(none['insideShare']!)} of orders’; the other had the rest.`,
    `The ambassador gave the busier one ${percent(ambassador['outsideShare']!)} of clients’ calls, and could do nothing for orders: ${percent(ambassador['insideShare']!)}. The sidecars gave it ${percent(sidecar['insideShare']!)} of orders’ calls, and clients stayed where they had connected: ${percent(sidecar['outsideShare']!)}.`,
    `While it hung, of clients’ calls ${percent(none['outsideFailed']!)}, ${percent(ambassador['outsideFailed']!)}, ${percent(sidecar['outsideFailed']!)} and ${percent(both['outsideFailed']!)} failed, of orders’ ${percent(none['insideFailed']!)}, ${percent(ambassador['insideFailed']!)}, ${percent(sidecar['insideFailed']!)} and ${percent(both['insideFailed']!)}.`,
  ],
  charts: [
    { kind: 'timeline', title: 'Share of clients’ calls that failed, over time', load: 'outside' },
    { kind: 'timeline', title: 'Share of orders’ calls that failed, over time', load: 'inside' },
  ],
};
