import { setTimeout as pause } from 'node:timers/promises';
import { percent, seconds } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';
import { until, type LabSession } from '../runner/session.js';
import { failedShare, slicesBetween } from '../load/slices.js';

const rate = 30;
const lostAtMs = 1_500;
const backAtMs = 5_500;
const durationMs = 8_000;
const attemptTimeoutMs = 250;
/** Nobody waits longer than this; three attempts take less. */
const leaveAfterMs = 1_200;
/** Requests are sent this much later than they are due, at most, on a machine that is busy. */
const slackMs = 200;
const ways = ['outside', 'inside'] as const;
type Way = (typeof ways)[number];

const measured = (facts: Facts): string =>
  ways.map((way) => `${way}: ${percent(facts[`${way}Near`]!)} near before, ${percent(facts[`${way}Failed`]!)} failed, moved in ${seconds(facts[`${way}MovedMs`]!)}, back in ${seconds(facts[`${way}BackMs`]!)}`).join('; ');
/** Checks take two failures of half a second to leave an instance out, and two successes to bring it back. */
const isMoved = (facts: Facts, way: Way): boolean => facts[`${way}Near`] === 1 && facts[`${way}Failed`]! < 0.2 && facts[`${way}MovedMs`]! >= 0 && facts[`${way}BackMs`]! >= 0;
const isStuck = (facts: Facts, way: Way): boolean => facts[`${way}Failed`]! > 0.4 && facts[`${way}MovedMs`] === -1;

/** Whoever knows where the instances are can use the near ones, and the far ones when these are gone. */
export const aLostZoneIsLeftAndTakenBack: Claim = {
  name: 'a-lost-zone-is-left-and-taken-back',
  title: 'A lost zone is left and taken back',
  statement: `Two of three instances of inventory are in the zone of their callers, one is far. The near zone falls silent for ${seconds(backAtMs - lostAtMs)}: connections are taken, and nothing is answered. The policy is a health check after every 400 ms, an attempt timeout of ${attemptTimeoutMs} ms and three attempts, and clients leave after ${leaveAfterMs} ms; that the near zone goes first is the balancer’s default. Clients ask through the front door, orders from inside: each is as well off as the proxy that sends for it.`,
  reading: 'Both: the gateway is the gatekeeper, and the sidecar is what orders sends its outgoing calls through.',
  zones: { 'inventory-1': 'a', 'inventory-2': 'a', 'inventory-3': 'b' },
  policies: () => [
    {
      name: 'zones',
      services: ['inventory'],
      spec: {
        healthCheck: { path: '/stock/check', interval: '400ms', timeout: '500ms', unhealthyThreshold: 2, healthyThreshold: 2 },
        attemptTimeout: `${attemptTimeoutMs}ms`,
        retry: { attempts: 3, backoff: { base: '5ms', max: '20ms' }, budget: { ratio: 1, minPerSecond: 100 } },
      },
    },
  ],
  async run(session, placement) {
    const [first, second, far] = session.instances('inventory', placement);
    const near = [first!, second!];
    const paths = { outside: { targets: session.entry('inventory', placement), path: '/stock/teapot' }, inside: { targets: session.entry('orders', placement), path: '/orders/7' } };
    const classes = ways.map((way) => ({ name: way, rate, ...paths[way], headers: [{ 'x-lab-tag': way }], leaveAfterMs }));
    await session.load({ warmupMs: 0, durationMs: 600, classes });
    await session.resetStats();
    const watched = watch(session, near);
    // A load for each way, so that each has its own course of failures.
    const [outside, inside] = [await session.start({ warmupMs: 0, durationMs, classes: [classes[0]!] }), await session.start({ warmupMs: 0, durationMs, classes: [classes[1]!] })];
    const running = { outside, inside };
    await until(inside.begunAt + lostAtMs);
    const [nearBefore, farBefore] = await Promise.all([session.received(near), session.received([far!])]);
    const lostAt = performance.now();
    await Promise.all(near.map((unit) => session.setFault(unit, { hang: true })));
    await until(inside.begunAt + backAtMs);
    const backAt = performance.now();
    await Promise.all(near.map((unit) => session.heal(unit)));
    const loads = { outside: await outside.result, inside: await inside.result };
    const arrivals = await watched.stop();
    const facts = ways.flatMap((way) => {
      const at = arrivals[way];
      const last = at.filter((time) => time < backAt).at(-1) ?? lostAt;
      const again = at.find((time) => time > backAt);
      return [
        [`${way}Near`, (nearBefore.byTag[way] ?? 0) / Math.max(1, (nearBefore.byTag[way] ?? 0) + (farBefore.byTag[way] ?? 0))],
        [`${way}Failed`, failedShare(slicesBetween(running[way], loads[way], lostAt, backAt - leaveAfterMs - slackMs))],
        [`${way}MovedMs`, backAt - last < 500 ? -1 : Math.max(0, last - lostAt)],
        [`${way}BackMs`, again === undefined ? -1 : again - backAt],
      ] as const;
    });
    return { facts: Object.fromEntries(facts), loads };
  },
  expectations: [
    { placement: 'none', text: 'over two fifths fail for as long as the zone is lost', holds: (facts) => isStuck(facts, 'outside') && isStuck(facts, 'inside'), measured },
    { placement: 'ambassador', text: 'clients’ requests move and move back, and under a fifth fails; orders’ calls stay where they are', holds: (facts) => isMoved(facts, 'outside') && isStuck(facts, 'inside'), measured },
    { placement: 'sidecar', text: 'orders’ calls move and move back, and under a fifth fails; clients’ requests stay where they are', holds: (facts) => isStuck(facts, 'outside') && isMoved(facts, 'inside'), measured },
    { placement: 'both', text: 'both move and move back, and under a fifth fails', holds: (facts) => isMoved(facts, 'outside') && isMoved(facts, 'inside'), measured },
  ],
  columns: [
    { title: 'clients: failed', value: ({ outsideFailed }) => percent(outsideFailed!) },
    { title: 'moved in', value: ({ outsideMovedMs }) => seconds(outsideMovedMs!) },
    { title: 'orders: failed', value: ({ insideFailed }) => percent(insideFailed!) },
    { title: 'moved in', value: ({ insideMovedMs }) => seconds(insideMovedMs!) },
    { title: 'back in', value: ({ outsideMovedMs, outsideBackMs, insideMovedMs, insideBackMs }) => [outsideMovedMs! < 0 ? [] : [outsideBackMs!], insideMovedMs! < 0 ? [] : [insideBackMs!]].flat().map(seconds).join(', ') || '–' },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `While the near zone was silent, ${percent(none['outsideFailed']!)} of clients’ requests and ${percent(none['insideFailed']!)} of orders failed without the policy.`,
    `At the ambassador it saved the first, ${percent(ambassador['outsideFailed']!)} failed, and not the second: ${percent(ambassador['insideFailed']!)}. In the sidecars ${percent(sidecar['outsideFailed']!)} and ${percent(sidecar['insideFailed']!)} failed, with both ${percent(both['outsideFailed']!)} and ${percent(both['insideFailed']!)}.`,
    `The gateway sent nothing more to the lost zone after ${seconds(ambassador['outsideMovedMs']!)} and used it again ${seconds(ambassador['outsideBackMs']!)} after it was back; the sidecar beside orders after ${seconds(sidecar['insideMovedMs']!)} and ${seconds(sidecar['insideBackMs']!)}.`,
  ],
  charts: [
    { kind: 'timeline', title: 'Share of clients’ requests that failed, over time', load: 'outside' },
    { kind: 'timeline', title: 'Share of orders that failed, over time', load: 'inside' },
  ],
};

/** Notes, to a twentieth of a second, when requests arrive at instances; health checks carry no tag and do not count. */
function watch(session: LabSession, units: readonly string[]): { stop: () => Promise<Record<Way, readonly number[]>> } {
  const arrivals: Record<Way, number[]> = { outside: [], inside: [] };
  const seen: Record<Way, number> = { outside: 0, inside: 0 };
  let stopped = false;
  const look = async (): Promise<void> => {
    while (!stopped) {
      const { byTag } = await session.received(units);
      for (const way of ways) {
        const now = byTag[way] ?? 0;
        if (now > seen[way]) arrivals[way].push(performance.now());
        seen[way] = now;
      }
      await pause(50);
    }
  };
  const looking = look();
  return {
    async stop() {
      stopped = true;
      await looking;
      return arrivals;
    },
  };
}
