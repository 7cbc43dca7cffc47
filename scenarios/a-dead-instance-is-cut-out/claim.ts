import { setTimeout as pause } from 'node:timers/promises';
import { count, percent, seconds } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';
import { until, type LabSession } from '../runner/session.js';
import { failedShare, slicesBetween } from '../load/slices.js';
import { sliceMs, type Slice } from '../load/spec.js';

const rate = 60;
const hangAtMs = 1_500;
const crashAtMs = 5_500;
const durationMs = 12_500;
/** Its supervisor starts the instance again after three seconds; on a busy machine requests are sent later than they are due. */
const deadMs = 2_500;

/** Breakers of proxies that send to inventory, as they open. */
const openings = /^proxy_breaker_transitions_total\{upstream="inventory(-bare)?",endpoint="[^"]*",state="open"\}/;

const measured = ({ shareBefore, hangFailed, deadFailed, opened, ejectMs, readmitMs }: Facts): string =>
  `it had ${percent(shareBefore!)} of the load; ${percent(hangFailed!)} failed while it hung, ${percent(deadFailed!)} while it was dead; breakers opened ${count(opened!)} times while it hung; cut out ${ejected(ejectMs!)}, back after ${seconds(readmitMs!)}`;

/** Who can see which instance is bad, and so avoid it. */
export const aDeadInstanceIsCutOut: Claim = {
  name: 'a-dead-instance-is-cut-out',
  title: 'A dead instance is cut out',
  statement:
    'One of three instances of inventory hangs, then dies, then returns, under constant load on orders. The policy is an attempt timeout of 300 ms and a breaker for each endpoint. The gateway sees orders as a whole, which fails a third of the time, and cannot tell why; the sidecar beside orders sees each instance, and its breaker cuts the bad one out but for a probe a second. Requests go to the instances in turn, so that it is the breaker that is judged and not the balancer, which would avoid the one that does not answer.',
  reading: 'The ambassador as gatekeeper at the edge.',
  policies: () => [
    {
      name: 'breakers',
      services: ['orders', 'inventory'],
      spec: { balance: { algorithm: 'round-robin' }, attemptTimeout: '300ms', breaker: { errorThreshold: 50, volumeThreshold: 5, window: '2s', resetTimeout: '1s' } },
    },
  ],
  async run(session, placement) {
    const victim = session.instances('inventory', placement)[1]!;
    const watched = watch(session, victim);
    const running = await session.start({ warmupMs: 0, durationMs, timeoutMs: 3_000, classes: [{ name: 'orders', rate, targets: session.entry('orders', placement), path: '/orders/7' }] });
    await until(running.begunAt + hangAtMs);
    const shareBefore = ((await session.stats(victim))?.received ?? 0) / Math.max(1, (await session.received(session.instances('inventory', placement))).received);
    const opened = async (): Promise<number> => (await session.metric('gateway', openings)) + (await session.metric('sidecar', openings));
    const openedBefore = await opened();
    const hungAt = performance.now();
    await session.setFault(victim, { hang: true });
    await until(running.begunAt + crashAtMs);
    const openedAfter = await opened();
    const crashedAt = performance.now();
    // The process exits, and comes back without the fault.
    await session.setFault(victim, { crash: true }).catch(() => {});
    const crashed = await running.result;
    const { returnedAt, servedAt } = await watched.stop();
    const hang = slicesBetween(running, crashed, hungAt, crashedAt);
    const dead = slicesBetween(running, crashed, crashedAt, crashedAt + deadMs);
    return {
      facts: {
        failed: crashed.all.offered - crashed.all.succeeded, offered: crashed.all.offered,
        shareBefore, hangFailed: failedShare(hang), deadFailed: failedShare(dead), endFailed: failedShare(crashed.slices.slice(-4)),
        opened: openedAfter - openedBefore, ejectMs: timeUntilGood(hang), readmitMs: returnedAt === undefined || servedAt === undefined ? -1 : servedAt - returnedAt,
      },
      loads: { outage: crashed },
    };
  },
  expectations: [
    { placement: 'none', text: 'a third fails for as long as it lasts', holds: (facts) => facts['hangFailed']! > 0.2 && facts['deadFailed']! > 0.2 && isNeverCutOut(facts), measured },
    { placement: 'ambassador', text: 'the gateway cannot cut the instance out: at least a fifth fails for as long as it hangs', holds: (facts) => facts['hangFailed']! > 0.2 && isNeverCutOut(facts), measured },
    { placement: 'sidecar', text: 'a breaker opens, and the instance is cut out within 2 s and taken back; under a fifth fails while it hangs, under a tenth while it is dead', holds: cutOut, measured },
    { placement: 'both', text: 'a breaker opens, and the instance is cut out within 2 s and taken back; under a fifth fails while it hangs, under a tenth while it is dead', holds: cutOut, measured },
  ],
  columns: [
    { title: 'failed while hung', value: ({ hangFailed }) => percent(hangFailed!) },
    { title: 'while dead', value: ({ deadFailed }) => percent(deadFailed!) },
    { title: 'breakers opened', value: ({ opened }) => count(opened!) },
    { title: 'cut out', value: ({ ejectMs }) => ejected(ejectMs!) },
    { title: 'back after', value: ({ readmitMs }) => seconds(readmitMs!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `While one instance of three hung, ${percent(none['hangFailed']!)} of requests failed without a breaker, ${percent(ambassador['hangFailed']!)} with one at the gateway, ${percent(sidecar['hangFailed']!)} with one for each instance in the sidecars, ${percent(both['hangFailed']!)} with both.`,
    `The sidecar had cut it out ${ejected(sidecar['ejectMs']!)}, its breaker having opened ${count(sidecar['opened']!)} times; the gateway: ${ejected(ambassador['ejectMs']!)}.`,
    `Over the whole run ${count(none['failed']!)}, ${count(ambassador['failed']!)}, ${count(sidecar['failed']!)} and ${count(both['failed']!)} of ${count(none['offered']!)} requests failed.`,
  ],
  charts: [{ kind: 'timeline', title: 'Share of requests that failed, over time', load: 'outage' }],
};

/** Time to ejection, which is known to a slice of the timeline. */
function ejected(ejectMs: number): string {
  return ejectMs < 0 ? 'never' : ejectMs === 0 ? `within ${sliceMs / 1_000} s` : `after ${seconds(ejectMs)}`;
}

function isNeverCutOut({ opened, ejectMs }: Facts): boolean {
  return opened === 0 && ejectMs === -1;
}

/** By a breaker: that requests do not fail may have other reasons. */
function cutOut({ hangFailed, deadFailed, opened, ejectMs, readmitMs, endFailed }: Facts): boolean {
  return opened! > 0 && hangFailed! < 0.2 && deadFailed! < 0.1 && ejectMs! >= 0 && ejectMs! <= 2_000 && readmitMs! >= 0 && endFailed! < 0.05;
}

/** Milliseconds until a whole second in which at most a tenth failed (a breaker probes once a second); -1 for never. */
function timeUntilGood(slices: readonly Slice[]): number {
  const second = 1_000 / sliceMs;
  for (let index = 0; index + second <= slices.length; index++) {
    if (failedShare(slices.slice(index, index + second)) <= 0.1) return slices[index]!.atMs - slices[0]!.atMs;
  }
  return -1;
}

/** Notes when an instance is back after it was down, and when it is first sent a request again. */
function watch(session: LabSession, unit: string): { stop: () => Promise<{ returnedAt: number | undefined; servedAt: number | undefined }> } {
  let wasDown = false;
  let returnedAt: number | undefined;
  let servedAt: number | undefined;
  let stopped = false;
  const look = async (): Promise<void> => {
    while (!stopped) {
      const stats = await session.stats(unit);
      if (stats === undefined) wasDown = true;
      else if (wasDown) {
        returnedAt ??= performance.now();
        if (stats.received > 0) servedAt ??= performance.now();
      }
      await pause(50);
    }
  };
  const looking = look();
  return {
    async stop() {
      stopped = true;
      await looking;
      return { returnedAt, servedAt };
    },
  };
}
