import { count, mib, ms } from '../runner/format.js';
import type { Claim } from '../runner/claim.js';
import { readUsage } from '../measure/usage.js';

const rate = 150;

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
    const steady = await session.load({
      warmupMs: 1_000,
      durationMs: 3_000,
      classes: [{ name: 'orders', rate, targets: session.entry('orders', placement), path: '/orders/7' }],
    });
    const usage = await readUsage(session.lab);
    const onTheWay = session.lab.units.filter(({ id, role }) =>
      (role === 'gateway' && (placement === 'ambassador' || placement === 'both')) ||
      (role === 'sidecar' && (placement === 'sidecar' || placement === 'both') && /^(orders|inventory)/.test(id)));
    const { latency, sent, succeeded } = steady.all;
    return {
      facts: {
        p50: latency.p50, p90: latency.p90, p99: latency.p99, sent, failed: sent - succeeded, achievedRate: steady.achievedRate,
        proxyMemory: onTheWay.reduce((sum, { id }) => sum + usage.get(id)!.residentBytes, 0), proxies: onTheWay.length,
      },
      loads: { steady },
    };
  },
  expectations: [
    { placement: 'none', text: 'no request fails', holds: ({ failed }) => failed === 0, measured: ({ failed, sent }) => `${count(failed!)} of ${count(sent!)} failed` },
    ...(['ambassador', 'sidecar', 'both'] as const).map((placement) => ({
      placement,
      text: 'no request fails, and the median is higher than without a proxy by less than 10 ms',
      holds: (facts: Readonly<Record<string, number>>, all: { readonly none: Readonly<Record<string, number>> }) => facts['failed'] === 0 && facts['p50']! > all.none['p50']! && facts['p50']! < all.none['p50']! + 10,
      measured: ({ failed, p50 }: Readonly<Record<string, number>>) => `${count(failed!)} failed, p50 ${ms(p50!)}`,
    })),
  ],
  columns: [
    { title: 'p50', value: ({ p50 }) => ms(p50!) },
    { title: 'p99', value: ({ p99 }) => ms(p99!) },
    { title: 'proxy CPU/request', value: ({ proxyCpuMsPerRequest }) => ms(proxyCpuMsPerRequest!) },
    { title: 'proxy memory', value: ({ proxyMemory, proxies }) => (proxies === 0 ? '–' : `${mib(proxyMemory!)} in ${proxies}`) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) =>
    ([['an ambassador', ambassador], ['sidecars', sidecar], ['both', both]] as const).map(
      ([name, facts]) =>
        `With ${name} the median was ${ms(facts['p50']! - none['p50']!)} above the ${ms(none['p50']!)} without a proxy, p99 ${ms(facts['p99']! - none['p99']!)} above ${ms(none['p99']!)}; the proxies used ${ms(facts['proxyCpuMsPerRequest']!)} of CPU a request and held ${mib(facts['proxyMemory']!)} in ${facts['proxies']} processes.`,
    ),
  charts: [
    { kind: 'bars', title: 'Latency by placement', unit: 'ms', series: [{ label: 'p50', fact: 'p50' }, { label: 'p90', fact: 'p90' }, { label: 'p99', fact: 'p99' }] },
    { kind: 'bars', title: 'CPU of all proxies, for each request', unit: 'ms', series: [{ label: 'CPU', fact: 'proxyCpuMsPerRequest' }] },
  ],
};
