import { percent, times } from '../runner/format.js';
import type { Claim, ClaimPolicy, Facts, Placement } from '../runner/claim.js';
import type { LabSession } from '../runner/session.js';
import type { LoadResult } from '../load/spec.js';

const attempts = 3;
/** Layers that retry, by placement: the gateway to users; the sidecars of users and of orders. */
const layers: Readonly<Record<Placement, number>> = { none: 0, ambassador: 1, sidecar: 2, both: 3 };
const ratio = 0.2;
/** Retries that a budget grants besides its share in its window, which is ten seconds. */
const reserve = 10;

const wideOpen = { ratio: 1, minPerSecond: 10_000 };
const phases = {
  free: { rate: 15, durationMs: 1_500, whenRetried: 'allow', budget: wideOpen },
  once: { rate: 15, durationMs: 1_500, whenRetried: 'once', budget: wideOpen },
  budget: { rate: 80, durationMs: 2_500, whenRetried: 'once', budget: { ratio, minPerSecond: reserve / 10 } },
} as const;
type Phase = keyof typeof phases;

function policies(phase: Phase): ClaimPolicy[] {
  const { whenRetried, budget } = phases[phase];
  return [{ name: 'retries', services: ['users', 'orders', 'inventory'], spec: { retry: { attempts, whenRetried, budget, on: ['gateway-error', 'connect-failure', 'reset'], backoff: { base: '2ms', max: '10ms' } } } }];
}

const measured = ({ free, once, budget, healthySuccess }: Facts): string => `inventory got ${times(free!)} retrying freely, ${times(once!)} with retries sent once, ${times(budget!)} with a budget too; before the outage ${percent(healthySuccess!)} succeeded`;
const near = (value: number, expected: number): boolean => Math.abs(value - expected) <= 0.1 * expected;

/** With what each layer adds within its budget: a share of the requests, retries not counted, and its reserve. */
function budgeted(placement: Placement): number {
  const sent = (phases.budget.rate * phases.budget.durationMs) / 1_000;
  return 1 + layers[placement] * (ratio + reserve / sent);
}

function holds(placement: Placement): (facts: Facts) => boolean {
  const stages = layers[placement];
  return ({ free, once, budget, healthySuccess }) =>
    healthySuccess === 1 && near(free!, attempts ** stages) && near(once!, 1 + stages * (attempts - 1)) && near(budget!, budgeted(placement));
}

/** An outage at the bottom of a chain, and what the layers above make of it. */
export const retriesOfThreeLayersDoNotMultiply: Claim = {
  name: 'retries-of-three-layers-do-not-multiply',
  title: 'Retries of three layers do not multiply',
  statement: `A client asks users, users asks orders, orders asks inventory, and inventory answers nothing but 503. Every retrying proxy on the way makes ${attempts} attempts: the gateway one layer, the sidecars of users and orders two, both three, and three layers that know nothing of each other are ${attempts ** 3} requests for one. A retry that is marked as one and not retried again makes a sum of the product; a budget of ${ratio * 100}% of the requests, and of ${reserve} in ten seconds, bounds what each layer adds.`,
  reading: 'Both: the gateway is the gatekeeper, and the sidecars are what a service sends its outgoing calls through.',
  policies: () => policies('free'),
  async run(session, placement) {
    const targets = session.entry('users', placement);
    const units = session.instances('inventory', placement);
    const facts: Record<string, number> = {};
    const loads: Record<string, LoadResult> = {};
    const send = async (name: string, { rate, durationMs }: { readonly rate: number; readonly durationMs: number }): Promise<LoadResult> =>
      session.load({ warmupMs: 0, durationMs, classes: [{ name, rate, targets, path: '/users/alice/orders/7' }] });
    const healthy = await send('healthy', { rate: 40, durationMs: 800 });
    await breakAll(session, units);
    for (const phase of Object.keys(phases) as Phase[]) {
      if (phase !== 'free') await session.use(placement, policies(phase));
      await session.resetStats();
      const load = await send(phase, phases[phase]);
      facts[phase] = (await session.received(units)).received / load.all.sent;
      loads[phase] = load;
    }
    return { facts: { ...facts, healthySuccess: healthy.all.succeeded / healthy.all.offered }, loads };
  },
  expectations: (Object.keys(layers) as Placement[]).map((placement) => ({
    placement,
    text:
      placement === 'none'
        ? 'inventory gets each request once, whatever the policy says'
        : `${attempts ** layers[placement]} times the load retrying freely, ${1 + layers[placement] * (attempts - 1)} times with retries sent once, about ${times(budgeted(placement))} with a budget too`,
    holds: holds(placement),
    measured,
  })),
  columns: [
    { title: 'retrying freely', value: ({ free }) => times(free!) },
    { title: 'retries sent once', value: ({ once }) => times(once!) },
    { title: 'with a budget too', value: ({ budget }) => times(budget!) },
  ],
  sentences: ({ ambassador, sidecar, both }) => [
    `For each request of a client inventory got ${times(ambassador['free']!)} with one layer retrying freely, ${times(sidecar['free']!)} with two, ${times(both['free']!)} with three.`,
    `With retries that are marked and sent once it was ${times(ambassador['once']!)}, ${times(sidecar['once']!)} and ${times(both['once']!)}; with a budget of ${ratio * 100}% too, ${times(ambassador['budget']!)}, ${times(sidecar['budget']!)} and ${times(both['budget']!)}. Both are on unless they are switched off.`,
  ],
  charts: [
    {
      kind: 'bars', title: 'Requests that inventory got in its outage, per request of a client', unit: '×',
      series: [{ label: 'retrying freely', fact: 'free' }, { label: 'retries sent once', fact: 'once' }, { label: 'with a budget too', fact: 'budget' }],
    },
  ],
};

async function breakAll(session: LabSession, units: readonly string[]): Promise<void> {
  await Promise.all(units.map((unit) => session.setFault(unit, { errorRate: 1 })));
}
