import { percent, times } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';

const rate = 50;
const attempts = 3;

const measured = ({ success, flakyAmplification, outageAmplification, ordersAmplification }: Facts): string =>
  `${percent(success!)} succeeded; inventory got ${times(flakyAmplification!)}, orders ${times(ordersAmplification!)}; in the outage inventory got ${times(outageAmplification!)}`;
const near = (value: number, expected: number, tolerance: number): boolean => Math.abs(value - expected) <= tolerance;

/** A retry multiplies; where it stands decides what. */
export const aFlakyServiceIsRetriedOnce: Claim = {
  name: 'a-flaky-service-is-retried-once-not-everywhere',
  title: 'A flaky service is retried once, not everywhere',
  statement: `Inventory answers 20% of requests with 503, and then all of them. A request to orders needs it. The policy allows ${attempts} attempts. At the edge a retry repeats the whole order, in the sidecar only the call that failed; where both retry, attempts multiply, and an outage meets ${attempts * attempts} times the load. What would bound this, the retry budget and that retries are not retried, is switched off to show it.`,
  reading: 'The ambassador as gatekeeper at the edge.',
  policies: () => [
    {
      name: 'retries',
      services: ['orders', 'inventory'],
      spec: { retry: { attempts, whenRetried: 'allow', on: ['gateway-error', 'connect-failure', 'reset'], backoff: { base: '5ms', max: '20ms' }, budget: { ratio: 1, minPerSecond: 10_000 } } },
    },
  ],
  async run(session, placement) {
    const units = session.instances('inventory', placement);
    const traffic = [{ name: 'orders', rate, targets: session.entry('orders', placement), path: '/orders/7' }];
    const phase = async (errorRate: number, durationMs: number): Promise<{ load: Awaited<ReturnType<typeof session.load>>; inventory: number; orders: number }> => {
      await Promise.all(units.map((unit, index) => session.setFault(unit, { errorRate, seed: session.seed + index })));
      await session.resetStats();
      const load = await session.load({ warmupMs: 0, durationMs, classes: traffic });
      const [inventory, orders] = await Promise.all([session.received(units), session.received(session.instances('orders', placement))]);
      return { load, inventory: inventory.received / load.all.sent, orders: orders.received / load.all.sent };
    };
    await session.load({ warmupMs: 0, durationMs: 800, classes: traffic });
    const flaky = await phase(0.2, 5_000);
    const outage = await phase(1, 1_500);
    return {
      facts: {
        success: flaky.load.all.succeeded / flaky.load.all.offered, p99: flaky.load.all.latency.p99,
        flakyAmplification: flaky.inventory, ordersAmplification: flaky.orders, outageAmplification: outage.inventory,
      },
      loads: { flaky: flaky.load, outage: outage.load },
    };
  },
  expectations: [
    { placement: 'none', text: 'about 80% succeed, and inventory gets each request once', holds: (facts) => near(facts['success']!, 0.8, 0.1) && facts['flakyAmplification'] === 1 && facts['outageAmplification'] === 1, measured },
    { placement: 'ambassador', text: 'over 97% succeed, by repeating whole orders; an outage meets 3 times the load', holds: (facts) => facts['success']! > 0.97 && facts['ordersAmplification']! > 1.1 && near(facts['outageAmplification']!, attempts, 0.2), measured },
    { placement: 'sidecar', text: 'over 97% succeed, and orders gets each request once; an outage meets 3 times the load', holds: (facts) => facts['success']! > 0.97 && facts['ordersAmplification'] === 1 && near(facts['outageAmplification']!, attempts, 0.2), measured },
    { placement: 'both', text: 'over 99% succeed; an outage meets 9 times the load', holds: (facts) => facts['success']! > 0.99 && near(facts['outageAmplification']!, attempts * attempts, 0.6), measured },
  ],
  columns: [
    { title: 'succeeded', value: ({ success }) => percent(success!) },
    { title: 'inventory got', value: ({ flakyAmplification }) => times(flakyAmplification!) },
    { title: 'orders got', value: ({ ordersAmplification }) => times(ordersAmplification!) },
    { title: 'in an outage', value: ({ outageAmplification }) => times(outageAmplification!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `With 20% of inventory’s answers failing, ${percent(none['success']!)} of orders succeeded without retries, ${percent(ambassador['success']!)} with them at the ambassador, ${percent(sidecar['success']!)} in the sidecars, ${percent(both['success']!)} in both.`,
    `The ambassador made orders do its work ${times(ambassador['ordersAmplification']!)} per request, the sidecar ${times(sidecar['ordersAmplification']!)}.`,
    `When inventory failed altogether it got ${times(ambassador['outageAmplification']!)} its load from one retrying layer and ${times(both['outageAmplification']!)} from two.`,
  ],
  charts: [
    { kind: 'bars', title: 'Requests that inventory got, per request of a client', unit: '×', series: [{ label: '20% failing', fact: 'flakyAmplification' }, { label: 'outage', fact: 'outageAmplification' }] },
    { kind: 'bars', title: 'Share of requests that succeeded, 20% failing', unit: '', series: [{ label: 'succeeded', fact: 'success' }] },
  ],
};
