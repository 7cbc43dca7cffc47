import { under, type Contender } from './contender.js';
import type { Credentials } from './credentials.js';
import type { Target } from './load/target.js';
import { Bench, residentBytes, takeTurns, type Row, type Running } from './measure.js';
import { edgeContenders } from './peers/edge.js';
import { features } from './peers/features.js';
import { caddy, gateway, gatewayWorkers, haproxy, nginx, nginxWorkers, stock } from './peers/plain-hop.js';
import { bareRelays, pairContenders } from './peers/sidecar-pair.js';

export interface Effort {
  readonly rounds: number;
  readonly seconds: number;
  readonly connections: number;
  readonly otherNode?: OtherNode | undefined;
}

/** Another Node.js, which ours are measured under too. */
export interface OtherNode {
  readonly path: string;
  /** As it names itself: `v26.10.0`. */
  readonly version: string;
}

export interface Table {
  readonly title: string;
  /** How the load came: closed or open loop, connections, rate. */
  readonly load: string;
  readonly rows: readonly Row[];
  readonly missing: readonly string[];
}

/** Cost against one quantity, a line for each proxy. */
export interface Curve {
  readonly title: string;
  readonly unit: string;
  readonly series: readonly { readonly name: string; readonly points: readonly { readonly x: number; readonly y: number }[] }[];
}

type Say = (line: string) => void;

async function compare(title: string, contenders: readonly Contender[], loop: 'closed' | 'open', target: Omit<Target, 'port'>, rounds: number, say: Say): Promise<Table> {
  say(title);
  const bench = new Bench();
  try {
    await bench.startOrigins();
    const running: Running[] = [];
    for (const contender of contenders) if (contender.isInstalled) running.push(await bench.launch(contender));
    const load = loop === 'closed' ? `closed loop, ${target.connections} connections` : `open loop, ${target.rate} requests/s over ${target.connections} connections`;
    return { title, load, rows: await takeTurns(bench, running, loop, target, rounds, say), missing: contenders.filter(({ isInstalled }) => !isInstalled).map(({ name }) => name) };
  } finally {
    bench.close();
  }
}

/** Each of ours, and the same under the other Node.js if there is one. */
function both(contenders: readonly Contender[], otherNode: OtherNode | undefined): Contender[] {
  const isOurs = ({ name }: Contender): boolean => name === 'gateway' || name === 'sidecar pair';
  return contenders.flatMap((contender) => (otherNode !== undefined && isOurs(contender) ? [contender, under(otherNode.path, otherNode.version, contender)] : [contender]));
}

export const plainHop = ({ rounds, seconds, connections, otherNode }: Effort, say: Say): Promise<Table> =>
  compare('Plain hop', both([gateway(), nginx, haproxy, caddy, stock('@fastify/http-proxy'), stock('http-proxy')], otherNode), 'closed', { seconds, connections }, rounds, say);

export const quickHop = ({ rounds, seconds, connections }: Effort, say: Say): Promise<Table> =>
  compare('Plain hop, quick', [gateway(), stock('@fastify/http-proxy')], 'closed', { seconds, connections }, rounds, say);

/** As an API sees its clients: each sends one token with every request until it expires, and the gateway remembers it. HAProxy does not, and verifies it each time. */
export const edge = ({ rounds, seconds, connections, otherNode }: Effort, { ca, edge: files, tokens }: Credentials, say: Say): Promise<Table> =>
  compare('Edge: TLS, RS256 tokens seen before, quota for each subject', both(edgeContenders(files), otherNode), 'closed', { seconds, connections, ca, fields: tokens }, rounds, say);

/** As with clients that take a new token for each request: both verify each. */
export const edgeNewTokens = async ({ rounds, seconds, connections, otherNode }: Effort, { ca, edge: files, writeNewTokens }: Credentials, say: Say): Promise<Table> =>
  compare('Edge: the same, each token new', both(edgeContenders(files), otherNode), 'closed', { seconds, connections, ca, fieldsFile: await writeNewTokens() }, rounds, say);

export const pair = ({ rounds, seconds, connections, otherNode }: Effort, { pair: files }: Credentials, say: Say): Promise<Table> =>
  compare('Sidecar pair: mutual TLS, retries, breaker, trace (each hop)', both(pairContenders(files), otherNode), 'closed', { seconds, connections, host: 'server' }, rounds, say);

export interface FeatureCost {
  readonly name: string;
  /** CPU time that it adds to a request (µs); below zero where it takes something away. */
  readonly addedMicros: number;
}

/** What each feature adds to a hop: measured right after a gateway without it, again and again; the median of the differences. */
export async function featureCosts({ rounds, seconds, connections }: Effort, { edge: files, tokens }: Credentials, say: Say): Promise<FeatureCost[]> {
  say('What features add to a hop');
  const [base, ...others] = features(files);
  const target = { seconds: Math.min(1.5, seconds), connections, fields: tokens };
  const costs: FeatureCost[] = [];
  for (const feature of others) {
    const bench = new Bench();
    try {
      await bench.startOrigins();
      const without = await bench.launch(base!);
      const running = await bench.launch(feature);
      const differences: number[] = [];
      for (let round = 0; round <= rounds; round++) {
        const before = await bench.measure(without, 'closed', target);
        const after = await bench.measure(running, 'closed', target);
        if (round > 0) differences.push(after.cpuMicros - before.cpuMicros);
      }
      const addedMicros = differences.sort((a, b) => a - b)[differences.length >> 1]!;
      say(`  ${feature.name}: ${addedMicros.toFixed(1)} µs`);
      costs.push({ name: feature.name, addedMicros });
    } finally {
      bench.close();
    }
  }
  return costs;
}

/** One process and two: what two processors could serve is what the CPU time of a request allows, if both are busy. */
export const workers = ({ rounds, seconds, connections }: Effort, say: Say): Promise<Table> =>
  compare('Workers', [gatewayWorkers(1), gatewayWorkers(2), nginxWorkers(1), nginxWorkers(2)], 'closed', { seconds, connections: Math.max(64, connections) }, rounds, say);

/** The origin without a proxy before it. */
const direct: Contender = { name: 'direct', log: 'off', isInstalled: true, portCount: 0, hops: 1, launch: () => ({ files: {}, processes: [] }) };

/** What a proxy adds at 1,000 requests/s: each round measures the direct way right before. */
async function added(title: string, contenders: readonly Contender[], target: Omit<Target, 'port'>, rounds: number, say: Say): Promise<Table> {
  say(title);
  const bench = new Bench();
  try {
    const [origin] = await bench.startOrigins();
    const running: Running[] = [{ contender: direct, port: origin!, pids: [] }];
    for (const contender of contenders) if (contender.isInstalled) running.push(await bench.launch(contender));
    return { title, load: `open loop, ${target.rate} requests/s over ${target.connections} connections`, rows: await takeTurns(bench, running, 'open', target, rounds, say), missing: contenders.filter(({ isInstalled }) => !isInstalled).map(({ name }) => name) };
  } finally {
    bench.close();
  }
}

export const addedByHop = ({ rounds, seconds }: Effort, say: Say): Promise<Table> =>
  added('Latency of one hop at 1,000 requests/s', [gateway(), nginx, haproxy], { seconds, connections: 16, rate: 1_000 }, rounds, say);

export const standardTest = ({ rounds, seconds }: Effort, { pair: files }: Credentials, say: Say): Promise<Table> =>
  added('The field’s standard test: a sidecar pair with mutual TLS, 1 KB, 1,000 requests/s, 16 connections', [...pairContenders(files), bareRelays(files)], { seconds, connections: 16, rate: 1_000, host: 'server', path: '/bytes/1024' }, rounds, say);

export interface IdleMemory {
  readonly connections: number;
  readonly rows: readonly { readonly name: string; readonly bytesEach: number }[];
}

export async function idleMemory(connections: number, say: Say): Promise<IdleMemory> {
  say(`Memory of ${connections} idle connections`);
  const bench = new Bench();
  try {
    await bench.startOrigins();
    const rows: { name: string; bytesEach: number }[] = [];
    for (const contender of [gateway(), nginx, haproxy].filter(({ isInstalled }) => isInstalled)) {
      const running = await bench.launch(contender);
      await bench.measure(running, 'closed', { seconds: 2, connections: 64 });
      const before = residentBytes(running.pids);
      // What requests left behind is collected by and by; a connection's own is what stays.
      const after = await bench.holdIdle(running, connections, async () => {
        await new Promise((resolve) => setTimeout(resolve, 6_000));
        return residentBytes(running.pids);
      });
      rows.push({ name: contender.name, bytesEach: (after - before) / connections });
      say(`  ${contender.name}: ${((after - before) / connections / 1_024).toFixed(1)} KiB each`);
      bench.stop(running);
    }
    return { connections, rows };
  } finally {
    bench.close();
  }
}

const roomy = (origins: readonly number[]): Readonly<Record<string, unknown>> => ({
  limits: { maxInFlight: 20_000, maxConnections: 20_000, maxConnectionsPerClient: 20_000 },
  upstreams: { origin: { endpoints: origins.map((port) => `127.0.0.1:${port}`), maxPending: 20_000 } },
});

interface Axis {
  readonly title: string;
  readonly values: readonly number[];
  readonly origins?: (value: number) => number;
  readonly contenders: (value: number, origins: readonly number[]) => readonly Contender[];
  readonly target: (value: number) => Partial<Target>;
}

const axes: readonly Axis[] = [
  { title: 'by size of the answer (bytes)', values: [0, 1_024, 10_240, 102_400, 1_048_576, 10_485_760], contenders: () => [gateway(), nginx], target: (size) => ({ path: `/bytes/${size}`, connections: 8 }) },
  { title: 'by connections', values: [1, 10, 100, 1_000, 10_000], contenders: (_, origins) => [gateway({ extra: roomy(origins) }), nginx], target: (connections) => ({ connections }) },
  { title: 'by routes', values: [1, 10, 100, 1_000, 10_000], contenders: (routes) => [gateway({ routes })], target: () => ({}) },
  { title: 'by endpoints', values: [1, 10, 100, 1_000], origins: (count) => count, contenders: (_, origins) => [gateway({ extra: roomy(origins) }), nginx], target: () => ({}) },
];

/** CPU time per request as one thing grows. */
export async function curves({ seconds, connections }: Effort, say: Say): Promise<Curve[]> {
  const drawn: Curve[] = [];
  for (const { title, values, origins = () => 1, contenders, target } of axes) {
    say(`CPU per request ${title}`);
    const points = new Map<string, { x: number; y: number }[]>();
    for (const value of values) {
      const bench = new Bench();
      try {
        const ports = await bench.startOrigins(origins(value));
        const running: Running[] = [];
        for (const contender of contenders(value, ports)) if (contender.isInstalled) running.push(await bench.launch(contender));
        for (const row of await takeTurns(bench, running, 'closed', { seconds, connections, ...target(value) }, 1, () => {})) {
          points.set(row.name, [...(points.get(row.name) ?? []), { x: value, y: row.cpuMicros }]);
          say(`  ${value}: ${row.name} ${row.cpuMicros.toFixed(1)} µs`);
        }
      } finally {
        bench.close();
      }
    }
    drawn.push({ title: `CPU per request ${title}`, unit: 'µs', series: [...points].map(([name, series]) => ({ name, points: series })) });
  }
  return drawn;
}
