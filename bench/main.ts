import { Command, InvalidArgumentError } from 'commander';
import Table from 'cli-table3';
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { describeMachine } from '../scenarios/report/machine.js';
import { measureHop } from './hop.js';
import { peers } from './peers.js';

/* The cost of a plain hop, ours beside every peer that is installed, in one run. */

const wholeNumber = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('Not a whole number above zero.');
  return value;
};

const options = new Command('bench')
  .description('CPU time per request and throughput of a plain hop, beside the peers that are installed')
  .option('--rounds <n>', 'rounds, the proxies in turn in each', wholeNumber, 3)
  .option('--seconds <n>', 'measured seconds of each proxy in each round', wholeNumber, 3)
  .option('--connections <n>', 'keep-alive connections', wholeNumber, 32)
  .option('--json <file>', 'writes the results to this file')
  .parse()
  .opts<{ rounds: number; seconds: number; connections: number; json?: string }>();

const result = await measureHop(peers(), options, (line) => process.stderr.write(`${line}\n`));
const base = result.rows.find(({ name }) => name === 'gateway')!;
const table = new Table({ head: ['proxy', 'CPU/request', 'ours is', 'requests/s', 'p50', 'p99', 'memory', 'log'], style: { head: [], border: [] } });
for (const row of result.rows) {
  table.push([row.name, `${row.cpuMicros.toFixed(1)} µs`, `${(base.cpuMicros / row.cpuMicros).toFixed(2)}×`, row.rate.toFixed(0), `${row.p50.toFixed(2)} ms`, `${row.p99.toFixed(2)} ms`, `${(row.residentBytes / 2 ** 20).toFixed(0)} MiB`, row.log]);
}
const machine = describeMachine();
process.stdout.write(`${table.toString()}\n${machine.cpu}, ${machine.cores} cores, Node.js ${machine.node}; ${options.connections} keep-alive connections, closed loop, 50-byte JSON; medians of ${options.rounds} rounds; ${result.method}\n`);
for (const missing of result.missing) process.stdout.write(`Not installed, so not measured: ${missing}\n`);
if (options.json !== undefined) {
  mkdirSync(dirname(options.json), { recursive: true });
  writeFileSync(options.json, JSON.stringify({ machine, options, ...result }, null, 2));
}
