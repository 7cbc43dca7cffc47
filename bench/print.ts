import Table from 'cli-table3';
import type { FeatureCost, IdleMemory, Table as JobTable } from './jobs.js';
import { mostLate } from './measure.js';
import { standing, type Verdict } from './targets.js';

const plain = { head: [], border: [] };

export function printTable({ title, load, rows, missing }: JobTable): string {
  const base = rows.find(({ name }) => name === 'gateway' || name === 'sidecar pair') ?? rows[0]!;
  const isOpen = load.startsWith('open');
  const table = new Table({ head: ['', 'CPU/request', 'ours is', 'requests/s', 'p50', 'p90', 'p99', 'memory', 'log', ...(isOpen ? ['sent late'] : [])], style: plain });
  for (const row of rows) {
    const cost = row.cpuMicros === 0 ? ['', ''] : [`${row.cpuMicros.toFixed(1)} µs`, `${(base.cpuMicros / row.cpuMicros).toFixed(2)}×`];
    table.push([row.name, ...cost, row.rate.toFixed(0), `${row.p50.toFixed(2)} ms`, `${row.p90.toFixed(2)} ms`, `${row.p99.toFixed(2)} ms`, `${(row.residentBytes / 2 ** 20).toFixed(0)} MiB`, row.log, ...(isOpen ? [`${(row.late * 100).toFixed(1)} %${row.late > mostLate ? ' (late)' : ''}`] : [])]);
  }
  return `\n${title} (${load})\n${table.toString()}\n${missing.map((name) => `Not installed, so not measured: ${name}\n`).join('')}`;
}

export function printCosts(costs: readonly FeatureCost[]): string {
  const table = new Table({ head: ['feature', 'adds to the CPU time of a request'], style: plain });
  for (const { name, addedMicros } of costs) table.push([name, `${addedMicros.toFixed(1)} µs`]);
  return `\nWhat features add to a hop\n${table.toString()}\n`;
}

export function printIdle({ connections, rows }: IdleMemory): string {
  return `\nMemory of an idle connection (of ${connections}): ${rows.map(({ name, bytesEach }) => `${name} ${(bytesEach / 1_024).toFixed(1)} KiB`).join(', ')}\n`;
}

export function printVerdicts(verdicts: readonly Verdict[]): string {
  const table = new Table({ head: ['job', 'beside', 'measured', 'reach', 'aim', ''], style: plain });
  for (const verdict of verdicts) {
    const { job, peer, measured, unit, reach, aim } = verdict;
    table.push([job, peer, `${measured.toFixed(2)} ${unit}`, String(reach ?? ''), String(aim ?? ''), standing(verdict)]);
  }
  return `\nWhat it must reach\n${table.toString()}\n${verdicts.map(({ job, flaw }) => (flaw === undefined ? '' : `Not sound: ${job}: ${flaw}\n`)).join('')}`;
}
