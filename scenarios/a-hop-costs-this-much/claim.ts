import { instancesOf } from '../lab/declaration.js';
import { costBetween, readUsage } from '../measure/usage.js';
import type { Claim, Facts, Placement } from '../runner/claim.js';
import { count, difference, mib, ms } from '../runner/format.js';
import { until } from '../runner/session.js';

const rate = 150;
/** Requests that are sent later than this (ms, p99) wait for the machine: what their latency says of proxies is too little. */
const lateMs = 20;

const sidecars = ['orders', ...instancesOf('inventory')].map((id) => `${id}-sidecar`);
/** The proxies that a request may pass. */
const onTheWay: Readonly<Record<Placement, readonly string[]>> = { none: [], ambassador: ['gateway'], sidecar: sidecars, both: ['gateway', ...sidecars] };

const isLate = ({ lateP99 }: Facts): boolean => lateP99! > lateMs;
const measured = ({ failed, sent, p50, lateP99 }: Facts): string => `${count(failed!)} of ${count(sent!)} failed, p50 ${ms(p50!)}; sent late by ${ms(lateP99!)} at p99`;

/** The price of the pattern itself: no policy, no fault, the same requests through nothing, one hop, or several. */
export const aHopCostsThisMuch: Claim = {
  name: 'a-hop-costs-this-much',
  title: 'A hop costs this much',
  statement:
    'Every proxy on the way adds latency and burns CPU. A request to orders causes one to inventory, so the ambassador is passed once, and sidecars three times: before orders, behind it, and before inventory.',
  reading: 'The ambassador as gatekeeper at the edge.',
  policies: () => [],
  rounds: 3,
  async run(session, placement) {
    const running = await session.start({
      warmupMs: 1_000,
      durationMs: 3_000,
      classes: [{ name: 'orders', rate, targets: session.entry('orders', placement), path: '/orders/7' }],
    });
    await until(running.begunAt);
    const before = await readUsage(session.lab, onTheWay[placement]);
    const steady = await running.result;
    const proxies = costBetween(session.lab, before, await readUsage(session.lab, onTheWay[placement]));
    const { latency, sent, succeeded } = steady.all;
    return {
      facts: {
        p50: latency.p50, p90: latency.p90, p99: latency.p99, lateP99: steady.lateness.p99, sent, failed: sent - succeeded, achievedRate: steady.achievedRate,
        proxyCpuMsPerRequest: proxies.reduce((sum, { cpuMs }) => sum + cpuMs, 0) / sent, proxyMemory: proxies.reduce((sum, { residentBytes }) => sum + residentBytes, 0), proxies: proxies.length,
      },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'no request fails, and all are sent in time', holds: (facts) => facts['failed'] === 0 && !isLate(facts), measured },
    ...(['ambassador', 'sidecar', 'both'] as const).map((placement) => ({
      placement,
      text: 'no request fails, all are sent in time, and the median is higher than without a proxy by less than 10 ms',
      holds: (facts: Facts, { none }: { readonly none: Facts }) => facts['failed'] === 0 && !isLate(facts) && facts['p50']! > none['p50']! && facts['p50']! < none['p50']! + 10,
      measured,
    })),
  ],
  columns: [
    { title: 'p50', value: ({ p50 }) => ms(p50!) },
    { title: 'p99', value: ({ p99 }) => ms(p99!) },
    { title: 'CPU/request on the way', value: ({ proxyCpuMsPerRequest }) => ms(proxyCpuMsPerRequest!) },
    { title: 'memory on the way', value: ({ proxyMemory, proxies }) => (proxies === 0 ? '–' : `${mib(proxyMemory!)} in ${proxies}`) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) =>
    ([['an ambassador', ambassador], ['sidecars', sidecar], ['both', both]] as const).map(([name, facts]) => {
      const latency = isLate(facts) || isLate(none)
        ? `requests were sent up to ${ms(Math.max(facts['lateP99']!, none['lateP99']!))} late (p99), so that latencies cannot be compared`
        : `the median was ${difference(facts['p50']!, none['p50']!)} the ${ms(none['p50']!)} without a proxy, p99 ${difference(facts['p99']!, none['p99']!)} ${ms(none['p99']!)}`;
      return `With ${name} ${latency}; the proxies on the way used ${ms(facts['proxyCpuMsPerRequest']!)} of CPU for each request after the warm-up and held ${mib(facts['proxyMemory']!)} in ${facts['proxies']} processes.`;
    }),
  charts: [
    { kind: 'bars', title: 'Latency by placement', unit: 'ms', series: [{ label: 'p50', fact: 'p50' }, { label: 'p90', fact: 'p90' }, { label: 'p99', fact: 'p99' }] },
    { kind: 'bars', title: 'CPU of the proxies on the way, for each request after the warm-up', unit: 'ms', series: [{ label: 'CPU', fact: 'proxyCpuMsPerRequest' }] },
  ],
};
