import type { Distribution } from './distribution.js';
import type { IdleMemory, Table } from './jobs.js';
import { mostLate, type Row } from './measure.js';

/** One line of what the product must reach, with what was measured. */
export interface Verdict {
  readonly job: string;
  readonly peer: string;
  readonly measured: number;
  readonly unit: string;
  /** Absent where the design asks for nothing: a figure that another one is not to be seen without. */
  readonly reach?: number;
  readonly aim?: number;
  /** More is better. */
  readonly isAtLeast?: boolean;
  /** Why the figure does not mean what it says, whatever it is. */
  readonly flaw?: string;
}

/** Which of the two bounds a figure meets, if there are any, and it means what it says. */
export function standing({ measured, reach, aim, isAtLeast = false, flaw }: Verdict): 'aim' | 'reached' | 'not reached' | 'not sound' | '' {
  if (flaw !== undefined) return 'not sound';
  if (reach === undefined || aim === undefined) return '';
  const meets = (bound: number): boolean => (isAtLeast ? measured >= bound : measured <= bound);
  return meets(aim) ? 'aim' : meets(reach) ? 'reached' : 'not reached';
}

export interface Results {
  readonly plainHop?: Table;
  readonly edge?: Table;
  readonly edgeNewTokens?: Table;
  readonly pair?: Table;
  readonly workers?: Table;
  readonly addedByHop?: Table;
  readonly standardTest?: Table;
  readonly idleMemory?: IdleMemory;
  readonly distribution?: Distribution;
}

const row = (table: Table, name: string): Row | undefined => table.rows.find((candidate) => candidate.name === name);

/** Of ours beside a peer, under whichever Node.js. */
const bounds = { plainHop: { reach: 1.35, aim: 1 }, edge: { reach: 0.8, aim: 0.5 }, pair: { reach: 1.5, aim: 1 } } as const;

function ratio(job: string, table: Table | undefined, our: string, peer: string, bounds: Pick<Verdict, 'reach' | 'aim'>): Verdict[] {
  const [own, other] = table === undefined ? [] : [row(table, our), row(table, peer)];
  return own === undefined || other === undefined ? [] : [{ job, peer, measured: own.cpuMicros / other.cpuMicros, unit: '× CPU', ...bounds }];
}

/** The ratios again for ours under another Node.js, if they were measured. */
function onOtherNode({ plainHop, edge, edgeNewTokens, pair }: Results): Verdict[] {
  const named = (table: Table | undefined, our: string): string => table?.rows.find(({ name }) => name.startsWith(`${our} (`))?.name ?? '';
  const newTokens = named(edgeNewTokens, 'gateway');
  const [hop, door, mesh] = [named(plainHop, 'gateway'), named(edge, 'gateway'), named(pair, 'sidecar pair')];
  return [
    ...ratio(`plain hop, ${hop}`, plainHop, hop, 'nginx', bounds.plainHop),
    ...ratio(`plain hop, ${hop}`, plainHop, hop, 'haproxy', bounds.plainHop),
    ...ratio(`edge, tokens seen before, ${door}`, edge, door, 'haproxy', bounds.edge),
    ...ratio(`edge, each token new, ${newTokens}`, edgeNewTokens, newTokens, 'haproxy', {}),
    ...ratio(`sidecar, each hop, ${mesh}`, pair, mesh, 'haproxy pair', bounds.pair),
  ];
}

/** Of the CPU time of two workers, what the lesser has to take at least: else the other is busy while it is not, and two processors are not used. */
const evenShare = 0.4;

/**
 * How many requests two workers serve for the time of two processors, beside one for that of one. The load generator takes its share of the
 * same processors, so what they serve beside it says little, and is shown only. What they would serve alone follows from the CPU time of a
 * request, as long as both are busy: so they have to share evenly.
 */
function scaling(table: Table | undefined): Verdict[] {
  const [one, two] = table === undefined ? [] : [row(table, 'gateway, 1 worker'), row(table, 'gateway, 2 workers')];
  if (one === undefined || two === undefined) return [];
  const share = two.leastShare;
  const flaw = share < evenShare ? { flaw: `the lesser worker took ${(share * 100).toFixed(0)} % of the CPU time of both, so two processors do not serve that much` } : {};
  return [
    { job: 'two workers, by CPU time of a request', peer: 'one', measured: (2 * one.cpuMicros) / two.cpuMicros, unit: '× requests for two processors’ time', reach: 1.7, aim: 1.9, isAtLeast: true, ...flaw },
    { job: 'share of the lesser worker of two', peer: '', measured: share * 100, unit: '% of the CPU time of both' },
    { job: 'two workers, beside the load on the same processors', peer: 'one', measured: two.rate / one.rate, unit: '× requests/s' },
  ];
}

function addedLatency(job: string, table: Table | undefined, our: string, percentiles: readonly (readonly [key: 'p50' | 'p90' | 'p99', reach: number, aim: number])[]): Verdict[] {
  const [own, without] = table === undefined ? [] : [row(table, our), row(table, 'direct')];
  if (own === undefined || without === undefined) return [];
  const late = Math.max(own.late, without.late);
  const flaw = late > mostLate ? { flaw: `the load generator sent ${(late * 100).toFixed(1)} % of its requests late, and what those waited is not in it` } : {};
  return percentiles.map(([key, reach, aim]) => ({ job: `${job}, ${key}`, peer: 'direct', measured: own[key] - without[key], unit: 'ms added', reach, aim, ...flaw }));
}

/** The measured figures beside those that the design asks for. */
export function judge(results: Results): Verdict[] {
  const { plainHop, edge, edgeNewTokens, pair, workers, addedByHop, standardTest, idleMemory, distribution } = results;
  const inTest = standardTest && row(standardTest, 'sidecar pair');
  const idle = idleMemory?.rows.find(({ name }) => name === 'gateway');
  return [
    ...onOtherNode(results),
    ...ratio('plain hop', plainHop, 'gateway', 'nginx', bounds.plainHop),
    ...ratio('plain hop', plainHop, 'gateway', 'haproxy', bounds.plainHop),
    ...ratio('plain hop', plainHop, 'gateway', 'stock @fastify/http-proxy', { reach: 0.25, aim: 0.2 }),
    ...ratio('edge, tokens seen before', edge, 'gateway', 'haproxy', bounds.edge),
    ...ratio('edge, each token new', edgeNewTokens, 'gateway', 'haproxy', {}),
    ...ratio('sidecar, each hop', pair, 'sidecar pair', 'haproxy pair', bounds.pair),
    ...scaling(workers),
    ...addedLatency('one hop', addedByHop, 'gateway', [['p99', 1, 0.5]]),
    ...addedLatency('standard test', standardTest, 'sidecar pair', [['p50', 0.4, 0.2], ['p90', 0.6, 0.25], ['p99', 1, 0.4]]),
    ...(inTest === undefined ? [] : [
      { job: 'CPU of one sidecar in it', peer: '', measured: inTest.cpus, unit: 'vCPU', reach: 0.1, aim: 0.06 },
      { job: 'memory of one sidecar in it', peer: '', measured: inTest.residentBytes / 1e6, unit: 'MB', reach: 80, aim: 60 },
    ]),
    ...(idle === undefined ? [] : [{ job: 'memory of an idle connection', peer: '', measured: idle.bytesEach / 1_024, unit: 'KiB', reach: 15, aim: 8 }]),
    ...(distribution === undefined ? [] : [{ job: `a change reaches ${distribution.proxies} proxies, p99`, peer: '', measured: distribution.reach.p99, unit: 'ms', reach: 1_000, aim: 250 }]),
  ];
}
