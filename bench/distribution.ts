import { fork, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import Table from 'cli-table3';
import type { ReadersPlan, ReadersReport } from './load/stream-readers.js';
import { freePort } from '../scenarios/lab/free-port.js';
import { cpuSeconds, residentBytes } from './measure.js';

/* How fast a change reaches a thousand proxies, what they cost a control plane, and how they come back when it does. */

export interface Distribution {
  readonly proxies: number;
  readonly slow: number;
  readonly dead: number;
  readonly services: number;
  readonly instances: number;
  readonly changes: number;
  /** From the request of the change to its receipt by a proxy (ms), over all changes and all proxies that read. */
  readonly reach: Percentiles;
  readonly snapshotBytes: number;
  /** CPU time of the control plane for one change that all get (ms). */
  readonly cpuMsPerChange: number;
  readonly residentBytes: { readonly without: number; readonly with: number };
  readonly storm: {
    /** From the moment it listens again to a proxy's stream (ms). */
    readonly back: Percentiles;
    /** Streams that were opened in each quarter of a second. */
    readonly arrivals: readonly number[];
    /** Connections that the proxies tried for it. */
    readonly attempts: number;
  };
}

interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

const size = { proxies: 1_000, slow: 20, dead: 20, services: 200, instances: 1_000, changes: 30 } as const;
const bucketMs = 250;
const path = (name: string): string => fileURLToPath(new URL(name, import.meta.url));
const now = (): number => Number(process.hrtime.bigint()) / 1e6;

class ControlPlane {
  private constructor(
    readonly child: ChildProcess,
    readonly url: string,
  ) {}

  static async start(directory: string, port: number): Promise<ControlPlane> {
    const config = join(directory, 'control-plane.yaml');
    writeFileSync(config, JSON.stringify({ listen: { host: '127.0.0.1', port }, dataDir: join(directory, 'data'), leaseGrace: '1s' }));
    const child = spawn(process.execPath, [path('../control-plane/main.js'), '--config', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    let text = '';
    for await (const data of child.stderr) {
      text += String(data);
      if (text.includes('"msg":"ready"')) break;
    }
    if (!text.includes('"msg":"ready"')) throw new Error(`the control plane did not start: ${text.slice(-500)}`);
    return new ControlPlane(child, `http://127.0.0.1:${port}`);
  }

  get pids(): number[] {
    return [this.child.pid!];
  }

  async send(method: string, to: string, body: unknown): Promise<void> {
    const response = await fetch(this.url + to, { method, headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${method} ${to}: ${response.status} ${await response.text()}`);
    await response.body?.cancel();
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return Number(text.split('\n').find((line) => line.startsWith(`${name} `))?.slice(name.length + 1));
  }

  async kill(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const closed = once(this.child, 'exit');
    this.child.kill('SIGKILL');
    await closed;
  }
}

export async function distribution(say: (line: string) => void): Promise<Distribution> {
  say(`Distribution to ${size.proxies} proxies`);
  const directory = mkdtempSync(join(tmpdir(), 'bench-distribution-'));
  const port = await freePort();
  let plane = await ControlPlane.start(directory, port);
  let readers: ChildProcess | undefined;
  const clear = (): void => {
    readers?.kill('SIGKILL');
    plane.child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  };
  // However the process ends.
  process.once('exit', clear);
  try {
    const services = Array.from({ length: size.services }, (_, index) => ({ kind: 'Service', name: `s-${index}` }));
    await plane.send('POST', '/v1/apply', [...services, { kind: 'Service', name: 'changed', endpoints: ['10.0.0.1:1'] }]);
    const addresses = Array.from({ length: size.instances }, (_, index) => ({ service: `s-${index % size.services}`, instance: `i-${index}`, address: `10.1.${index >> 8}.${index & 255}:8080` }));
    for (const { service, instance, address } of addresses) await plane.send('PUT', `/v1/registry/${service}/${instance}`, { address, ttl: '1h', zone: 'a' });
    // Until the grace is over, and what is left of it has been collected.
    await pause(2_000);
    const without = residentBytes(plane.pids);

    const plan: ReadersPlan = { port, healthy: size.proxies - size.slow - size.dead, slow: size.slow, dead: size.dead, services: size.services };
    readers = fork(path('load/stream-readers.js'), [JSON.stringify(plan)]);
    await report(readers, 'connected');
    await pause(1_000);
    const [sentBefore, bytesBefore] = [await plane.metric('control_plane_snapshots_sent_total'), await plane.metric('control_plane_snapshot_bytes_total')];
    const snapshotBytes = bytesBefore / sentBefore;

    const reach: number[] = [];
    const cpuBefore = cpuSeconds(plane.pids);
    for (let change = 2; change < size.changes + 2; change++) {
      const text = `10.0.0.1:${change}"`;
      readers.send({ text });
      // The readers have the text to watch for before the change is made.
      await pause(150);
      const receipts = report(readers, 'received');
      const madeAt = now();
      await plane.send('PUT', '/v1/services/changed', { endpoints: [`10.0.0.1:${change}`] });
      const { at } = await receipts;
      reach.push(...at.map((time) => time - madeAt));
      say(`  change ${change - 1}: all in ${Math.max(...at.map((time) => time - madeAt)).toFixed(0)} ms`);
    }
    await pause(500);
    const cpuMsPerChange = ((cpuSeconds(plane.pids) - cpuBefore) / size.changes) * 1_000;
    const withProxies = residentBytes(plane.pids);

    await plane.kill();
    const reconnected = report(readers, 'connected');
    plane = await ControlPlane.start(directory, port);
    const listensAt = now();
    const { at, attempts } = await reconnected;
    const back = at.map((time) => Math.max(0, time - listensAt));
    const arrivals: number[] = [];
    for (const ms of back) arrivals[Math.floor(ms / bucketMs)] = (arrivals[Math.floor(ms / bucketMs)] ?? 0) + 1;
    return {
      ...size, reach: percentiles(reach), snapshotBytes, cpuMsPerChange, residentBytes: { without, with: withProxies },
      storm: { back: percentiles(back), arrivals: Array.from(arrivals, (count: number | undefined) => count ?? 0), attempts },
    };
  } finally {
    await plane.kill();
    clear();
    process.off('exit', clear);
  }
}

export function printDistribution(result: Distribution): string {
  const { proxies, slow, dead, services, instances, changes, reach, snapshotBytes, cpuMsPerChange, residentBytes: memory, storm } = result;
  const plain = { head: [], border: [] };
  const ms = ({ p50, p90, p99, max }: Percentiles): string[] => [p50, p90, p99, max].map((value) => `${value.toFixed(0)} ms`);
  const times = new Table({ head: ['', 'p50', 'p90', 'p99', 'max'], style: plain });
  times.push(['a change, from its request to each proxy', ...ms(reach)], ['streams open again after a restart', ...ms(storm.back)]);
  const costs = new Table({ head: ['control plane', ''], style: plain });
  costs.push(
    ['a snapshot', `${(snapshotBytes / 1_024).toFixed(1)} KiB`],
    ['CPU time of a change that all get', `${cpuMsPerChange.toFixed(0)} ms`],
    ['memory without proxies', `${(memory.without / 2 ** 20).toFixed(0)} MiB`],
    [`memory with ${proxies}`, `${(memory.with / 2 ** 20).toFixed(0)} MiB, ${((memory.with - memory.without) / proxies / 1_024).toFixed(1)} KiB each`],
    [`streams opened in each ${bucketMs} ms after a restart`, storm.arrivals.join(' ')],
    ['connections tried for that', String(storm.attempts)],
  );
  return `\nDistribution (${proxies} proxies, ${slow} of them slow and ${dead} that read nothing; ${services} services, ${instances} instances, ${changes} changes)\n${times.toString()}\n${costs.toString()}\n`;
}

async function report<Kind extends ReadersReport['kind']>(readers: ChildProcess, kind: Kind): Promise<Extract<ReadersReport, { kind: Kind }>> {
  for (;;) {
    const [said] = (await once(readers, 'message', { signal: AbortSignal.timeout(60_000) })) as [ReadersReport];
    if (said.kind === kind) return said as Extract<ReadersReport, { kind: Kind }>;
  }
}

function percentiles(values: readonly number[]): Percentiles {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: sorted.at(-1)! };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
