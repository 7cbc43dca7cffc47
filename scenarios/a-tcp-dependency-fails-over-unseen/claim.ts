import { sessionStores } from '../lab/outside.js';
import type { RunningLoad } from '../load/load.js';
import { failedShare, slicesBetween } from '../load/slices.js';
import type { TrafficClass } from '../load/spec.js';
import type { Claim, Facts, Placement } from '../runner/claim.js';
import { count, percent } from '../runner/format.js';
import { until, type LabSession } from '../runner/session.js';
import { Store } from './store.js';

const rate = 30;
const crashAtMs = 1_500;
const durationMs = 5_500;
/** Its supervisor starts the primary again after three seconds; on a busy machine reads are sent later than they are due. */
const deadMs = 2_600;
const key = 'session:claim';
const ways = ['outside', 'inside'] as const;
type Way = (typeof ways)[number];

const measured = (facts: Facts): string => ways.map((way) => `${way}: ${percent(facts[`${way}Failed`]!)} failed while it was dead, ${count(facts[`${way}Lost`]!)} in all`).join('; ') + `; the standby answered ${count(facts['standby']!)}`;
const failsOver = (facts: Facts, way: Way): boolean => facts[`${way}Failed`]! < 0.2;
const isDown = (facts: Facts, way: Way): boolean => facts[`${way}Failed`]! > 0.4;

/** A client of a database knows one address. Who knows the other one decides what a crash costs. */
export const aTcpDependencyFailsOverUnseen: Claim = {
  name: 'a-tcp-dependency-fails-over-unseen',
  title: 'A TCP dependency fails over unseen',
  statement:
    'The shop’s sessions are in a Redis with a standby, which follows it. Clients of Redis know one address and keep one connection. The primary crashes while sessions are read, and is back three seconds later. A proxy has a TCP listener for the store: it passes bytes on, knows both addresses and their order, and has no idea what is spoken. When the primary is gone, the connection that was there breaks, and the next one leads to the standby. A client outside reads the store itself; users reads it for those who ask for a session.',
  reading: 'Both: the gateway leads to the store as the gatekeeper, and the sidecar is what users sends its outgoing connections through.',
  // A TCP listener is no request’s policy: it is there, and the placement says who goes through it.
  policies: () => [],
  async run(session, placement) {
    const [primary, standby] = sessionStores.map((unit) => new Store(addressOf(session, unit, 'redis')));
    const outside = { name: 'outside', rate, protocol: 'redis' as const, targets: [`http://${storeFor(session, placement)}`], path: key };
    const inside = { name: 'inside', rate, targets: session.entry('users', placement), path: `/users/sessions/${key.split(':')[1]!}` };
    try {
      await primary!.keep(key, 'alice');
      await standby!.has(key);
      await standby!.isLeft([new Store(storeFor(session, placement)), insideReader(inside)], key);
      const start = (traffic: TrafficClass): Promise<RunningLoad> => session.start({ warmupMs: 0, durationMs, timeoutMs: 1_500, classes: [traffic] });
      const running = { outside: await start(outside), inside: await start(inside) };
      await until(running.inside.begunAt + crashAtMs);
      const before = await standby!.hits();
      const crashedAt = performance.now();
      await primary!.crash();
      const loads = { outside: await running.outside.result, inside: await running.inside.result };
      return {
        facts: {
          standby: (await standby!.hits()) - before,
          ...Object.fromEntries(
            ways.flatMap((way) => {
              const { all } = loads[way];
              return [[`${way}Failed`, failedShare(slicesBetween(running[way], loads[way], crashedAt, crashedAt + deadMs))], [`${way}Lost`, all.offered - all.succeeded]];
            }),
          ),
        },
        loads,
      };
    } finally {
      primary!.close();
      standby!.close();
    }
  },
  expectations: [
    { placement: 'none', text: 'over two fifths fail while the primary is dead, and the standby is of no use', holds: (facts) => isDown(facts, 'outside') && isDown(facts, 'inside') && facts['standby'] === 0, measured },
    { placement: 'ambassador', text: 'clients outside lose under a fifth while it is dead; users, who do not go that way, over two fifths', holds: (facts) => failsOver(facts, 'outside') && isDown(facts, 'inside') && facts['standby']! > 0, measured },
    { placement: 'sidecar', text: 'users loses under a fifth while it is dead; clients outside over two fifths', holds: (facts) => isDown(facts, 'outside') && failsOver(facts, 'inside') && facts['standby']! > 0, measured },
    { placement: 'both', text: 'both lose under a fifth', holds: (facts) => failsOver(facts, 'outside') && failsOver(facts, 'inside') && facts['standby']! > 0, measured },
  ],
  columns: [
    { title: 'clients: failed while dead', value: ({ outsideFailed }) => percent(outsideFailed!) },
    { title: 'lost in all', value: ({ outsideLost }) => count(outsideLost!) },
    { title: 'users: failed while dead', value: ({ insideFailed }) => percent(insideFailed!) },
    { title: 'lost in all', value: ({ insideLost }) => count(insideLost!) },
    { title: 'standby answered', value: ({ standby }) => count(standby!) },
  ],
  sentences: ({ none, ambassador, sidecar, both }) => [
    `While the primary was dead, ${percent(none['outsideFailed']!)} of reads from outside and ${percent(none['insideFailed']!)} of those by users failed without a proxy; the standby answered ${count(none['standby']!)}.`,
    `Through the ambassador ${count(ambassador['outsideLost']!)} reads were lost in all, and users lost ${count(ambassador['insideLost']!)}; with sidecars users lost ${count(sidecar['insideLost']!)} and clients outside ${count(sidecar['outsideLost']!)}; with both ${count(both['outsideLost']!)} and ${count(both['insideLost']!)}.`,
  ],
  charts: [
    { kind: 'timeline', title: 'Share of reads from outside that failed, over time', load: 'outside' },
    { kind: 'timeline', title: 'Share of reads by users that failed, over time', load: 'inside' },
  ],
};

/** Where a client outside finds the store: behind the gateway, or itself. */
function storeFor(session: LabSession, placement: Placement): string {
  return placement === 'ambassador' || placement === 'both' ? addressOf(session, 'gateway', 'sessions') : addressOf(session, sessionStores[0], 'redis');
}

function addressOf(session: LabSession, unit: string, port: string): string {
  return new URL(session.lab.url(unit, port)).host;
}

/** Asks users for the session, as a client does. */
function insideReader({ targets, path }: { readonly targets: readonly string[]; readonly path: string }): Pick<Store, 'read' | 'close'> {
  return {
    async read() {
      const response = await fetch(targets[0]! + path, { signal: AbortSignal.timeout(3_000) });
      const text = await response.text();
      return response.ok ? text : undefined;
    },
    close: () => {},
  };
}
