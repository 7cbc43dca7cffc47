import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePorts } from '../scenarios/lab/free-port.js';
import { script, type Contender } from './contender.js';
import type { LoadReport, Target } from './load/target.js';
import { canPin, firstProcessors, loadProcessor } from './processors.js';

/*
 * Proxies run on one processor, load and origin on another, where the machine can pin. CPU time is the operating system's own
 * accounting of the proxy's processes between the first request and the last; contenders take turns, round by round, so that what
 * disturbs the machine disturbs all, and stand still while others have theirs; every figure is a median of the rounds.
 */

interface Sample {
  /** Of the proxy, for one request and hop (µs). */
  readonly cpuMicros: number;
  /** Processors that it kept busy. */
  readonly cpus: number;
  readonly rate: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly residentBytes: number;
  /** Of the CPU time of its workers, the part of the one that took least: 0.5 where two share evenly, 1 where there is one. */
  readonly leastShare: number;
  /** Part of the requests that an open loop sent late: what they would have waited is not in the percentiles. */
  readonly late: number;
}

export interface Row extends Sample {
  readonly name: string;
  readonly log: 'on' | 'off';
}

const ticksPerSecond = 100;

function start(processors: string, [command, ...args]: readonly [string, ...string[]], output: number | 'pipe'): ChildProcess {
  const [file, all] = canPin ? ['taskset', ['-c', processors, command, ...args]] : [command, args];
  return spawn(file, all, { stdio: ['ignore', output, output === 'pipe' ? 'inherit' : output], detached: false });
}

/** A contender that runs. */
export interface Running {
  readonly contender: Contender;
  readonly port: number;
  readonly pids: readonly number[];
}

/** Everything of one job: its origin, its contenders, and a folder, all gone when it is closed or the process ends. */
export class Bench {
  readonly #directory = mkdtempSync(join(tmpdir(), 'bench-'));
  readonly #children: ChildProcess[] = [];
  /** Lines of a file of fields that each contender has had: it gets the next. */
  readonly #taken = new Map<Running, number>();
  #origins: readonly number[] = [];

  /** However the process ends: contenders that stand still would not even hear of a Ctrl-C. */
  readonly #onExit = (): void => this.close();

  constructor() {
    process.once('exit', this.#onExit);
  }

  /** Starts origins on `count` ports. */
  async startOrigins(count = 1): Promise<readonly number[]> {
    const child = start(loadProcessor, script('load/origin.js', String(count)), 'pipe');
    this.#children.push(child);
    this.#origins = JSON.parse(await nextLine(child)) as number[];
    return this.#origins;
  }

  async launch(contender: Contender, origins = this.#origins): Promise<Running> {
    const directory = join(this.#directory, `${contender.name.replace(/\W+/g, '-')}-${this.#children.length}`);
    mkdirSync(directory);
    const ports = await freePorts(contender.portCount);
    const { files, processes } = contender.launch({ ports, origins, directory });
    for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
    const pids = processes.map((command, index) => {
      const log = openSync(join(directory, `output-${index}.log`), 'a');
      const child = start(firstProcessors(contender.processors ?? 1), command, log);
      closeSync(log);
      this.#children.push(child);
      return child.pid!;
    });
    try {
      await untilListening(ports[0]!);
    } catch (error) {
      throw new Error(`${contender.name}: ${(error as Error).message}; it said: ${readFileSync(join(directory, 'output-0.log'), 'utf8').slice(-500)}`, { cause: error });
    }
    return { contender, port: ports[0]!, pids };
  }

  /** Puts a load on a contender and measures what it takes. */
  async measure(running: Running, loop: 'closed' | 'open', target: Omit<Target, 'port'>): Promise<Sample> {
    const { pids, port, contender } = running;
    const skip = this.#taken.get(running) ?? 0;
    const [node, ...rest] = script(`load/${loop}-loop.js`, JSON.stringify({ ...target, port, skip } satisfies Target));
    const load = start(loadProcessor, [node, ...(loop === 'open' ? quietly : []), ...rest], 'pipe');
    this.#children.push(load);
    const lines = createInterface(load.stdout!)[Symbol.asyncIterator]();
    await lines.next();
    const [before, startedAt] = [cpuOfEach(pids), performance.now()];
    const { value } = (await lines.next()) as { value: string | undefined };
    const [after, endedAt] = [cpuOfEach(pids), performance.now()];
    if (value === undefined) throw new Error(`${contender.name}: the load generator failed`);
    const report = JSON.parse(value) as LoadReport;
    if (report.failed > 0) throw new Error(`${contender.name}: ${report.failed} requests failed; no figure of it would mean anything`);
    // The last request of an open loop goes out before the end, by the time between two and what rounding takes.
    const leastSeconds = target.seconds - (target.rate === undefined ? 0 : 2 / target.rate);
    if (report.seconds < leastSeconds) throw new Error(`${contender.name}: the load ended after ${report.seconds.toFixed(2)} s instead of ${target.seconds} s; no figure of it would mean anything`);
    this.#taken.set(running, skip + report.taken);
    const seconds = sum(after.values()) - sum(before.values());
    const ofWorkers = workersOf(pids).map((pid) => (after.get(pid) ?? 0) - (before.get(pid) ?? 0));
    return { cpuMicros: (seconds / report.requests / contender.hops) * 1e6, cpus: seconds / contender.hops / ((endedAt - startedAt) / 1_000), rate: report.rate, p50: report.p50, p90: report.p90, p99: report.p99, residentBytes: residentBytes(pids) / contender.hops, leastShare: leastShare(ofWorkers), late: report.late };
  }

  /** Holds idle connections while `look` looks. */
  async holdIdle<T>(running: Running, connections: number, look: () => Promise<T>): Promise<T> {
    const child = start(loadProcessor, script('load/idle.js', JSON.stringify({ port: running.port, seconds: 0, connections } satisfies Target)), 'pipe');
    try {
      await nextLine(child);
      return await look();
    } finally {
      child.kill('SIGKILL');
    }
  }

  /** Everything but one contender stands still: what it has yet to clean up is not done at the expense of the one that is measured. */
  only(running: Running, all: readonly Running[]): void {
    for (const other of all) for (const pid of withChildren(other.pids)) process.kill(pid, other === running ? 'SIGCONT' : 'SIGSTOP');
  }

  stop(running: Running): void {
    for (const pid of withChildren(running.pids)) end(pid);
  }

  close(): void {
    process.off('exit', this.#onExit);
    // Their children first: workers do not end with a master that is killed.
    for (const pid of this.#children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null).flatMap(({ pid }) => withChildren([pid!])).reverse()) end(pid);
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/**
 * Measures contenders in turn, `rounds` times after a warm-up, and takes medians. Warm means as many requests as it takes for a compiler
 * to be done. An open loop is warmed up at its own rate, as a service would be: full load leaves a heap behind that this rate would never
 * have made. Each round of it is run in too: connections and heaps are not what they were when the others have had their turns, and the
 * generator, a process of its own in each round, has yet to be compiled; both would be taken for latency.
 */
export async function takeTurns(bench: Bench, all: readonly Running[], loop: 'closed' | 'open', target: Omit<Target, 'port'>, rounds: number, say: (line: string) => void): Promise<Row[]> {
  const samples = new Map<Running, Sample[]>(all.map((running) => [running, []]));
  const warmUp = loop === 'open' ? { ...target, seconds: openWarmUpSeconds } : { ...target, connections: 32 };
  const counted = loop === 'open' ? { ...target, runInSeconds } : target;
  for (let round = 0; round <= rounds; round++) {
    for (const running of all) {
      bench.only(running, all);
      const sample = await bench.measure(running, loop, round === 0 ? warmUp : counted);
      say(`  ${round === 0 ? 'warm-up' : `round ${round}`} ${running.contender.name}: ${sample.cpuMicros.toFixed(1)} µs, ${sample.rate.toFixed(0)}/s, p99 ${sample.p99.toFixed(2)} ms${sample.late > mostLate ? `; the load came late (${(sample.late * 100).toFixed(1)} %)` : ''}`);
      if (round > 0) samples.get(running)!.push(sample);
    }
  }
  return all.map((running) => ({ name: running.contender.name, log: running.contender.log, ...medians(samples.get(running)!) }));
}

/** At an open loop's rate V8 would go on compiling for half a minute, and its helpers hold up what shares the processor with them. */
const quietly = ['--no-opt', '--single-threaded-gc'];
/** Of an open loop: once for each contender, and before each round. */
export const openWarmUpSeconds = 30;
export const runInSeconds = 4;
/** Requests that may be late: half of those that p99 leaves out. A median lies between rounds that keep to it as long as most do. */
export const mostLate = 0.005;

export function medians(samples: readonly Sample[]): Sample {
  const median = (key: keyof Sample): number => samples.map((sample) => sample[key]).sort((a, b) => a - b)[samples.length >> 1]!;
  return { cpuMicros: median('cpuMicros'), cpus: median('cpus'), rate: median('rate'), p50: median('p50'), p90: median('p90'), p99: median('p99'), residentBytes: median('residentBytes'), leastShare: median('leastShare'), late: median('late') };
}

/** User and system time of processes and their children that run (proc(5): fields 14 and 15 of stat, in ticks). */
export function cpuSeconds(pids: readonly number[]): number {
  return sum(cpuOfEach(pids).values());
}

function cpuOfEach(pids: readonly number[]): Map<number, number> {
  return new Map(withChildren(pids).map((pid) => {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
    return [pid, (Number(fields[11]) + Number(fields[12])) / ticksPerSecond];
  }));
}

export function leastShare(ofWorkers: readonly number[]): number {
  const all = sum(ofWorkers);
  return all === 0 ? 1 : Math.min(...ofWorkers) / all;
}

function sum(values: Iterable<number>): number {
  let all = 0;
  for (const value of values) all += value;
  return all;
}

export function residentBytes(pids: readonly number[]): number {
  return withChildren(pids).reduce((sum, pid) => sum + Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1_024, 0);
}

function withChildren(pids: readonly number[]): number[] {
  const all = [...pids];
  for (let index = 0; index < all.length; index++) all.push(...childrenOf(all[index]!));
  return all;
}

/** Processes that serve: those that have no children, since a process with workers leaves that to them. */
function workersOf(pids: readonly number[]): number[] {
  return withChildren(pids).filter((pid) => childrenOf(pid).length === 0);
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((task) => readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter((text) => text !== '').map(Number));
  } catch {
    // It has ended, or the kernel does not list children.
    return [];
  }
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

async function nextLine(child: ChildProcess): Promise<string> {
  const { value } = (await createInterface(child.stdout!)[Symbol.asyncIterator]().next()) as { value: string | undefined };
  if (value === undefined) throw new Error('a helper of the bench ended early');
  return value;
}

async function untilListening(port: number): Promise<void> {
  const until = Date.now() + 20_000;
  for (;;) {
    const socket = connect(port, '127.0.0.1');
    const isUp = await new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)).once('error', () => resolve(false)));
    socket.destroy();
    if (isUp) return;
    if (Date.now() > until) throw new Error(`nothing listens on port ${port} after 20 s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
