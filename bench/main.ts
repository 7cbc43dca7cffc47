import { Command, InvalidArgumentError } from 'commander';
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { describeMachine } from '../scenarios/report/machine.js';
import { writeCharts } from './charts.js';
import { makeCredentials } from './credentials.js';
import { distribution, printDistribution } from './distribution.js';
import { addedByHop, curves, edge, edgeNewTokens, featureCosts, idleMemory, pair, plainHop, quickHop, standardTest, workers, type Curve, type Effort, type OtherNode, type Table } from './jobs.js';
import { onTimeMs } from './load/on-time.js';
import { mostLate, openWarmUpSeconds, runInSeconds } from './measure.js';
import { printCosts, printIdle, printTable, printVerdicts } from './print.js';
import { canPin, lackOfProcessors, loadProcessor } from './processors.js';
import { judge, type Results } from './targets.js';

/* What a hop costs, ours beside every peer that is installed, in one run. */

const jobs = ['plain', 'edge', 'pair', 'latency', 'standard', 'memory', 'workers', 'features', 'curves', 'distribution'] as const;
type Job = (typeof jobs)[number];
/** The advantage over the stock plugin below which the quick mode fails. */
const leastAdvantage = 3.5;

const wholeNumber = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('Not a whole number above zero.');
  return value;
};
const jobList = (text: string): Job[] => {
  const names = text.split(',') as Job[];
  const unknown = names.find((name) => !jobs.includes(name));
  if (unknown !== undefined) throw new InvalidArgumentError(`There is no job ${unknown}; there are ${jobs.join(', ')}.`);
  return names;
};

const otherNode = (path: string): OtherNode => {
  const { status, stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
  if (status !== 0) throw new InvalidArgumentError(`${path} does not run.`);
  return { path, version: `Node.js ${stdout.trim().slice(1)}` };
};

const program = new Command('bench')
  .description('CPU time per request, throughput, latency and memory, beside the peers that are installed')
  .option('--jobs <list>', `some of ${jobs.join(',')}`, jobList, [...jobs])
  .option('--quick', `only ours and the stock plugin, under a minute; fails under an advantage of ${leastAdvantage}`)
  .option('--rounds <n>', 'rounds, the proxies in turn in each', wholeNumber, 5)
  .option('--seconds <n>', 'measured seconds of each proxy in each round', wholeNumber, 3)
  .option('--connections <n>', 'keep-alive connections of closed loops', wholeNumber, 32)
  .option('--node <path>', 'another Node.js, which ours are measured under too', otherNode)
  .option('--json <file>', 'writes the results to this file', 'reports/bench.json')
  .option('--html <file>', 'writes a page with charts to this file', 'reports/bench.html')
  .parse();
const options = program.opts<Effort & { jobs: Job[]; quick?: true; node?: OtherNode; json: string; html: string }>();
if (lackOfProcessors !== undefined) program.error(`error: ${lackOfProcessors}`);
// Before it sees one processor alone.
const machine = describeMachine();
// Where the load is, since it works whenever the load does.
if (canPin) spawnSync('taskset', ['-acp', loadProcessor, String(process.pid)]);
const effort: Effort = { ...options, otherNode: options.node };

const say = (line: string): void => void process.stderr.write(`${line}\n`);
const show = (text: string): void => void process.stdout.write(text);

/** Measured again if it fails: what disturbs a shared machine for ten seconds is no regression. */
async function quick(): Promise<void> {
  for (let attempt = 1; attempt <= 2; attempt++) {
    const table = await quickHop({ rounds: 3, seconds: 3, connections: options.connections }, say);
    show(printTable(table));
    const [ours, stock] = table.rows;
    const advantage = stock!.cpuMicros / ours!.cpuMicros;
    show(`advantage over the stock plugin: ${advantage.toFixed(2)} (at least ${leastAdvantage})\n`);
    if (advantage >= leastAdvantage) return;
  }
  process.exitCode = 1;
}

async function whole(): Promise<void> {
  const wants = (job: Job): boolean => options.jobs.includes(job);
  const credentials = await makeCredentials();
  process.once('exit', () => credentials.remove());
  const tables: Table[] = [];
  const measured: Record<string, unknown> = {};
  const table = async (job: Job, name: keyof Results, run: () => Promise<Table>): Promise<void> => {
    if (!wants(job)) return;
    const result = await run();
    tables.push(result);
    measured[name] = result;
    show(printTable(result));
  };
  await table('plain', 'plainHop', () => plainHop(effort, say));
  await table('edge', 'edge', () => edge(effort, credentials, say));
  await table('edge', 'edgeNewTokens', () => edgeNewTokens(effort, credentials, say));
  await table('pair', 'pair', () => pair(effort, credentials, say));
  await table('latency', 'addedByHop', () => addedByHop(effort, say));
  await table('standard', 'standardTest', () => standardTest(effort, credentials, say));
  await table('workers', 'workers', () => workers(effort, say));
  if (wants('features')) {
    const costs = await featureCosts(effort, credentials, say);
    measured['features'] = costs;
    show(printCosts(costs));
  }
  if (wants('distribution')) {
    const result = await distribution(say);
    measured['distribution'] = result;
    show(printDistribution(result));
  }
  const memory = wants('memory') ? await idleMemory(10_000, say) : undefined;
  if (memory !== undefined) show(printIdle(memory));
  const drawn: Curve[] = wants('curves') ? await curves({ ...options, seconds: Math.min(2, options.seconds) }, say) : [];
  const results = { ...measured, ...(memory && { idleMemory: memory }) } as Results;
  const verdicts = judge(results);
  show(printVerdicts(verdicts));
  const method = `${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}. CPU time of the proxy’s processes from /proc/PID/stat between the first request and the last; ${canPin ? 'proxies pinned to one processor, load and origin to the other' : 'nothing pinned: taskset is not installed'}; contenders in turn, stopped while others have theirs; one warm-up (open loops: ${openWarmUpSeconds} s, and ${runInSeconds} s before each round); medians of ${options.rounds} rounds of ${options.seconds} s; every answer’s status checked; latencies of open loops count from the tick of a timer of a millisecond at which a request was due, and mean nothing (“late”) where over ${mostLate * 100} % were sent more than ${onTimeMs} ms after they were due.`;
  show(`\n${method}\n`);
  for (const file of [options.json, options.html]) mkdirSync(dirname(file), { recursive: true });
  writeFileSync(options.json, JSON.stringify({ machine, method, results, verdicts, curves: drawn }, null, 2));
  writeCharts(options.html, { method, tables, verdicts, curves: drawn });
  show(`Results: ${options.json}, charts: ${options.html}\n`);
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(128 + constants.signals[signal]));
await (options.quick ? quick() : whole());
