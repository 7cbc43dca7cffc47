import { ms, percent } from '../runner/format.js';
import type { Claim, Facts } from '../runner/claim.js';
import type { LabSession } from '../runner/session.js';
import type { LoadResult } from '../load/spec.js';

const rate = 25;
const leaveAfterMs = 150;
const limitMs = 350;
const workMs = 800;

const measured = ({ tellsFinished, tellsWorkMs, forgetsFinished, forgetsWorkMs, received }: Facts): string =>
  `finished for nobody: ${percent(tellsFinished!)} (${ms(tellsWorkMs!)} of work each) when orders breaks off, ${percent(forgetsFinished!)} (${ms(forgetsWorkMs!)}) when it goes on; inventory got each request ${received!.toFixed(2)} times`;
const few = 0.1;
const isToldOff = ({ tellsFinished, tellsWorkMs, received, left }: Facts): boolean => left === 1 && received === 1 && tellsFinished! < few && tellsWorkMs! < workMs * 0.75;
const isFinished = ({ forgetsFinished }: Facts): boolean => forgetsFinished! > 1 - few;
const isCut = ({ forgetsFinished, forgetsWorkMs }: Facts): boolean => forgetsFinished! < few && forgetsWorkMs! < workMs * 0.85;

/** A client’s leaving is worth something only if it is heard at the last hop. */
export const nobodyWorksForAClientThatHasLeft: Claim = {
  name: 'nobody-works-for-a-client-that-has-left',
  title: 'Nobody works for a client that has left',
  statement: `Inventory works ${workMs} ms on an answer, and clients of orders leave after ${leaveAfterMs} ms. Each proxy must pass that on, and must not retry what nobody waits for. First orders breaks off its own call when its client is gone; then, as in many an application, it does not. Then no proxy in front of it can help, but the one behind it can: the policy gives inventory ${limitMs} ms to answer.`,
  reading: 'Both: the gateway is the gatekeeper, and the sidecar is what orders sends its outgoing calls through.',
  policies: () => [{ name: 'limits', services: ['inventory'], spec: { timeout: `${limitMs}ms`, retry: { attempts: 3, on: ['reset', 'connect-failure', 'refused'] } } }],
  async run(session, placement) {
    const units = session.instances('inventory', placement);
    await session.load({ warmupMs: 0, durationMs: 600, classes: [{ name: 'patient', rate, targets: session.entry('orders', placement), path: '/orders/7' }] });
    await Promise.all(units.map((unit) => session.setFault(unit, { latencyMs: workMs })));
    await session.resetStats();
    const phase = async (tag: string, path: string): Promise<LoadResult> => {
      const load = await session.load({ warmupMs: 0, durationMs: 1_600, classes: [{ name: tag, rate, targets: session.entry('orders', placement), path, headers: [{ 'x-lab-tag': tag }], leaveAfterMs }] });
      await atRest(session, units, tag);
      return load;
    };
    const tells = await phase('tells', '/orders/7');
    const forgets = await phase('forgets', '/orders/7?forgetful=yes');
    const { byTag, finishedByTag, workedMsByTag } = await session.received(units);
    const share = (counts: Readonly<Record<string, number>>, tag: string): number => (counts[tag] ?? 0) / Math.max(1, byTag[tag] ?? 0);
    const sent = tells.all.sent + forgets.all.sent;
    return {
      facts: {
        left: ((tells.all.errors['left'] ?? 0) + (forgets.all.errors['left'] ?? 0)) / sent,
        received: ((byTag['tells'] ?? 0) + (byTag['forgets'] ?? 0)) / sent,
        tellsFinished: share(finishedByTag, 'tells'), tellsWorkMs: share(workedMsByTag, 'tells'),
        forgetsFinished: share(finishedByTag, 'forgets'), forgetsWorkMs: share(workedMsByTag, 'forgets'),
      },
      loads: { tells, forgets },
    };
  },
  expectations: [
    { placement: 'none', text: 'inventory stops when orders breaks off, and finishes everything when it does not', holds: (facts) => isToldOff(facts) && isFinished(facts), measured },
    { placement: 'ambassador', text: 'the gateway passes it on and repeats nothing; what orders goes on with, it does not see', holds: (facts) => isToldOff(facts) && isFinished(facts), measured },
    { placement: 'sidecar', text: 'three proxies pass it on and repeat nothing; what orders goes on with is cut off in its time', holds: (facts) => isToldOff(facts) && isCut(facts), measured },
    { placement: 'both', text: 'four proxies pass it on and repeat nothing; what orders goes on with is cut off in its time', holds: (facts) => isToldOff(facts) && isCut(facts), measured },
  ],
  columns: [
    { title: 'finished for nobody', value: ({ tellsFinished }) => percent(tellsFinished!) },
    { title: 'work each', value: ({ tellsWorkMs }) => ms(tellsWorkMs!) },
    { title: 'orders goes on', value: ({ forgetsFinished }) => percent(forgetsFinished!) },
    { title: 'work each', value: ({ forgetsWorkMs }) => ms(forgetsWorkMs!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `For clients that left after ${leaveAfterMs} ms inventory worked ${ms(none['tellsWorkMs']!)} on each without a proxy, ${ms(ambassador['tellsWorkMs']!)} with the ambassador, ${ms(sidecar['tellsWorkMs']!)} with sidecars, ${ms(both['tellsWorkMs']!)} with both, of ${workMs} ms.`,
    `When orders went on, ${percent(none['forgetsFinished']!)} of the work was finished for nobody without a proxy, ${percent(ambassador['forgetsFinished']!)} with the ambassador, ${percent(sidecar['forgetsFinished']!)} with sidecars, which ended it after ${ms(sidecar['forgetsWorkMs']!)}.`,
  ],
  charts: [
    { kind: 'bars', title: `Work for nobody, each request (all of it: ${workMs} ms)`, unit: 'ms', series: [{ label: 'orders breaks off', fact: 'tellsWorkMs' }, { label: 'orders goes on', fact: 'forgetsWorkMs' }] },
  ],
};

/** Resolves when nothing of a kind is worked on any more. */
async function atRest(session: LabSession, units: readonly string[], tag: string): Promise<void> {
  const until = performance.now() + 5_000;
  for (;;) {
    const { byTag, finishedByTag, stoppedByTag } = await session.received(units);
    if ((byTag[tag] ?? 0) > 0 && byTag[tag] === (finishedByTag[tag] ?? 0) + (stoppedByTag[tag] ?? 0)) return;
    if (performance.now() > until) throw new Error(`inventory did not come to rest: ${JSON.stringify({ byTag, finishedByTag, stoppedByTag })}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
