import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname, join } from 'node:path';
import pc from 'picocolors';
import { claims } from './claims.js';
import { composeFiles } from './compose/generate.js';
import { connectCompose } from './lab/compose.js';
import { startEmbedded } from './lab/embedded.js';
import type { Lab } from './lab/lab.js';
import { schemaVersion, type ReportDocument } from './report/document.js';
import { reportHtml } from './report/html.js';
import { scoreboard } from './report/scoreboard.js';
import { serveReports } from './report/serve.js';
import { prepareFile, prepareReports, writeReport } from './report/write.js';
import { createProgress, type Progress } from './runner/progress.js';
import { reasonOf } from './runner/run-claim.js';
import { runComparison } from './runner/run-comparison.js';

/* What the commands of the lab do; `main.ts` says how they are called. */

export interface RunOptions {
  readonly json?: string;
  readonly report: string;
  readonly seed: number;
  readonly keepLogs?: boolean;
}

export function list(): void {
  for (const { name, title, statement } of claims) process.stdout.write(`${pc.bold(name)}\n  ${title}. ${statement}\n\n`);
}

/** Runs these claims, all of them where none is named. A name that none has, and a place where nothing can be written, is refused before anything starts. */
export async function run(names: readonly string[], options: RunOptions, refuse: (message: string) => never): Promise<void> {
  const chosen = names.length === 0 ? claims : names.map((name) => claims.find((claim) => claim.name === name) ?? refuse(`there is no claim "${name}"; there is ${claims.map((claim) => claim.name).join(', ')}`));
  const { json, report: folder } = options;
  tryOut(() => prepareReports(folder), (reason) => refuse(`no report can be written to ${folder} (--report): ${reason}`));
  if (json !== undefined) tryOut(() => prepareFile(json), (reason) => refuse(`${json} cannot be written (--json): ${reason}`));
  const progress = createProgress();
  const lab = await start(progress, options.keepLogs ?? false);
  try {
    const document = await runComparison(chosen, lab, { seed: options.seed, progress });
    progress.finish();
    process.stdout.write(`\n${scoreboard(document.claims)}\n`);
    const failed = document.claims.filter(({ verdict }) => verdict !== 'as expected');
    for (const { name, expectations } of failed) {
      for (const { placement, text, measured, holds } of expectations) if (!holds) process.stdout.write(pc.red(`${name}, ${placement}: expected that ${text}; measured: ${measured}\n`));
    }
    for (const note of document.notes) process.stdout.write(`${note}\n`);
    process.exitCode = failed.length === 0 ? 0 : 1;
    // Last, and each by itself: what a run of minutes found is on the terminal, whatever became of the disk.
    tryOut(() => process.stdout.write(`Report: ${writeReport(document, folder).html}\n`), (reason) => fail(`The report was not written: ${reason}`));
    if (json !== undefined) tryOut(() => writeFileSync(json, JSON.stringify(document, null, 2)), (reason) => fail(`The results were not written: ${reason}`));
  } finally {
    progress.finish();
    await lab.close();
  }
}

export function report(options: { readonly report: string }): void {
  const folder = join(options.report, 'latest');
  const file = join(folder, 'results.json');
  if (!existsSync(file)) return fail(`There is no ${file}: nothing was run yet. Start with: npm start`);
  tryOut(() => {
    const document = readResults(file);
    writeFileSync(join(folder, 'report.html'), reportHtml(document));
    process.stdout.write(`${scoreboard(document.claims)}\nReport: ${join(folder, 'report.html')}\n`);
  }, (reason) => fail(`There is no report of ${file}: ${reason}`));
}

function readResults(file: string): ReportDocument {
  const document = JSON.parse(readFileSync(file, 'utf8')) as ReportDocument | null;
  if (document?.schemaVersion !== schemaVersion) throw new Error(`its schemaVersion is ${String(document?.schemaVersion)}, and this program reads ${schemaVersion}`);
  return document;
}

export async function serve(options: { readonly report: string; readonly host: string; readonly port: number }): Promise<void> {
  try {
    process.stdout.write(`${await serveReports(options.report, options)}\n`);
    process.once('SIGTERM', () => process.exit(0));
  } catch (error) {
    fail(`Reports are not served: ${reasonOf(error)}`);
  }
}

export async function up(): Promise<void> {
  const progress = createProgress();
  // Where the command line looks for a control plane, and people for a gateway, if nobody else has these ports.
  const lab = await start(progress, true, { 'control-plane/api': 7000, 'gateway/http': 8080 });
  progress.finish();
  for (const { id, ports } of lab.units) process.stdout.write(`${id.padEnd(22)} ${ports.map(({ name }) => `${name} ${lab.url(id, name)}`).join('  ')}\n`);
  const controlPlane = lab.url('control-plane', 'api');
  const named = controlPlane === 'http://127.0.0.1:7000' ? '' : `CONTROL_PLANE_URL=${controlPlane} `;
  process.stdout.write(`\nThe shop is at ${lab.url('gateway', 'http')}.\nThe control plane is at ${controlPlane}: ${named}npm run lab -- status; or get, apply FILE, diff FILE, history, rollback\nCtrl-C stops it.\n`);
  setInterval(() => {}, 2 ** 30);
}

export function compose(): void {
  for (const [file, text] of composeFiles()) {
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}

/** Starts the lab, or ends with the reason why it does not. */
async function start(...how: Parameters<typeof startLab>): Promise<Lab> {
  try {
    return await startLab(...how);
  } catch (error) {
    how[0].finish();
    process.stderr.write(`The lab did not start: ${reasonOf(error)}\n`);
    process.exit(1);
  }
}

async function startLab(progress: Progress, keepFiles: boolean, preferredPorts: Readonly<Record<string, number>> = {}): Promise<Lab> {
  let interrupted = false;
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.on(signal, () => {
      // The lab's processes are killed on exit; a second signal finds nothing left to wait for.
      if (!interrupted) process.stderr.write(`\n${signal}: stopping\n`);
      interrupted = true;
      progress.finish();
      process.exit(128 + constants.signals[signal]);
    });
  }
  const onProgress = (ready: number, all: number, unit: string): void => progress.step('starting the lab', ready, all, unit);
  if (process.env['LAB_MODE'] === 'compose') return connectCompose(onProgress);
  const lab = await startEmbedded({ keepFiles, onProgress, preferredPorts });
  if (keepFiles) process.stderr.write(`logs: ${lab.directory}\n`);
  return lab;
}

function tryOut(act: () => unknown, otherwise: (reason: string) => void): void {
  try {
    act();
  } catch (error) {
    otherwise(reasonOf(error));
  }
}

function fail(message: string): void {
  process.stderr.write(`${message}\n`);
  process.exitCode = 1;
}
