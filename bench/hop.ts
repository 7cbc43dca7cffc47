import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import type { Peer } from './peers.js';

export interface HopRow {
  readonly name: string;
  readonly log: string;
  readonly cpuMicros: number;
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly residentBytes: number;
}

export interface HopResult {
  readonly rows: readonly HopRow[];
  readonly missing: readonly string[];
  readonly method: string;
}

interface LoadReport {
  readonly requests: number;
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly failed: number;
}

const ticksPerSecond = 100;
const hasTaskset = spawnSync('taskset', ['-V']).error === undefined;
const self = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** On one processor of its own when the machine can do that: 0 for proxies, 1 for load and origin. */
function pinned(processor: 0 | 1, command: string, args: readonly string[]): [string, string[]] {
  return hasTaskset ? ['taskset', ['-c', String(processor), command, ...args]] : [command, [...args]];
}

/** Measures a plain hop through each peer, in turn, some rounds long, and takes medians. */
export async function measureHop(all: readonly Peer[], options: { rounds: number; seconds: number; connections: number }, say: (line: string) => void): Promise<HopResult> {
  const directory = mkdtempSync(join(tmpdir(), 'bench-'));
  const children: ChildProcess[] = [];
  try {
    const [originPort, ...ports] = await freePorts(1 + all.length * 2);
    children.push(spawn(...pinned(1, process.execPath, [self('./origin.js'), String(originPort!)]), { stdio: 'ignore' }));
    await untilListening(originPort!);
    const running = await Promise.all(
      all.filter(({ start }) => start !== undefined).map(async (peer, index) => {
        const folder = join(directory, peer.name);
        mkdirSync(folder);
        const listen = ports[index * 2]!;
        const { files, command, args } = peer.start!({ listen, origin: originPort!, admin: ports[index * 2 + 1]!, directory: folder });
        for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
        const log = openSync(join(folder, 'output.log'), 'a');
        const child = spawn(...pinned(0, command, args), { stdio: ['ignore', log, log] });
        closeSync(log);
        children.push(child);
        await untilListening(listen);
        return { peer, listen, pid: child.pid!, samples: [] as Omit<HopRow, 'name' | 'log'>[] };
      }),
    );
    for (let round = 0; round <= options.rounds; round++) {
      for (const { peer, listen, pid, samples } of running) {
        const before = cpuSeconds(pid);
        const report = await load(listen, options.seconds, options.connections);
        if (report.failed > 0) throw new Error(`${peer.name}: ${report.failed} requests failed; no figure of it would mean anything`);
        const cpuMicros = ((cpuSeconds(pid) - before) / report.requests) * 1e6;
        say(`${round === 0 ? 'warm-up' : `round ${round}`} ${peer.name}: ${cpuMicros.toFixed(1)} µs a request, ${report.rate.toFixed(0)} requests/s`);
        if (round > 0) samples.push({ cpuMicros, rate: report.rate, p50: report.p50, p99: report.p99, residentBytes: residentBytes(pid) });
      }
    }
    return {
      rows: running.map(({ peer, samples }) => ({
        name: peer.name, log: peer.log,
        cpuMicros: median(samples, 'cpuMicros'), rate: median(samples, 'rate'), p50: median(samples, 'p50'), p99: median(samples, 'p99'), residentBytes: median(samples, 'residentBytes'),
      })),
      missing: all.filter(({ start }) => start === undefined).map(({ name }) => name),
      method: `CPU time from /proc/PID/stat; ${hasTaskset ? 'proxies pinned to one processor, load and origin to another' : 'nothing pinned: taskset is not installed'}`,
    };
  } finally {
    for (const child of children) child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  }
}

async function load(port: number, seconds: number, connections: number): Promise<LoadReport> {
  const child = spawn(...pinned(1, process.execPath, [self('./closed-loop.js'), String(port), String(seconds), String(connections)]), { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  child.stdout.on('data', (data: Buffer) => (output += data.toString()));
  await once(child, 'close');
  return JSON.parse(output) as LoadReport;
}

/** User and system time of a process (proc(5): fields 14 and 15 of stat, in ticks). */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

function residentBytes(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024;
}

function median<K extends string>(samples: readonly Readonly<Record<K, number>>[], key: K): number {
  const sorted = samples.map((sample) => sample[key]).sort((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

async function untilListening(port: number): Promise<void> {
  const until = Date.now() + 15_000;
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const isUp = await new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
    socket.destroy();
    if (isUp) return;
    if (Date.now() > until) throw new Error(`nothing listens on port ${port} after 15 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(Array.from({ length: count }, async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return server;
  }));
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}
