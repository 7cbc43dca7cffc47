import { Command, InvalidArgumentError } from 'commander';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import pc from 'picocolors';
import { controlPlaneCommands } from '../control-plane/client/commands.js';
import { claims } from './claims.js';
import { composeFiles } from './compose/generate.js';
import { joinTokensCommand } from './compose/join-tokens.js';
import { connectCompose } from './lab/compose.js';
import { joinTokenCommand } from './join-token.js';
import { startEmbedded } from './lab/embedded.js';
import type { Lab } from './lab/lab.js';
import type { ReportDocument } from './report/document.js';
import { reportHtml } from './report/html.js';
import { scoreboard } from './report/scoreboard.js';
import { serveReports } from './report/serve.js';
import { writeReport } from './report/write.js';
import type { Claim } from './runner/claim.js';
import { createProgress, type Progress } from './runner/progress.js';
import { runComparison } from './runner/run-comparison.js';

const isCompose = process.env['LAB_MODE'] === 'compose';

const program = new Command('lab').description('Ambassador or sidecar? The same traffic and the same faults against each placement, measured.');

program
  .command('list')
  .description('lists the claims')
  .action(() => {
    for (const { name, title, statement } of claims) process.stdout.write(`${pc.bold(name)}\n  ${title}. ${statement}\n\n`);
  });

program
  .command('run')
  .description('runs claims, all of them without a name, and writes the report')
  .argument('[claim...]', 'names of claims', (name: string, names: string[] | undefined) => [...(names ?? []), knownClaim(name).name])
  .option('--json <file>', 'writes the results to this file too')
  .option('--report <dir>', 'folder for reports', isCompose ? '/reports' : 'reports')
  .option('--seed <n>', 'seed of traffic and faults', wholeNumber, 1)
  .option('--keep-logs', 'keeps the logs of the lab’s processes')
  .action(async (names: string[] | undefined, options: { json?: string; report: string; seed: number; keepLogs?: boolean }) => {
    const chosen = names === undefined || names.length === 0 ? claims : names.map(knownClaim);
    const progress = createProgress();
    const lab = await start(progress, options.keepLogs ?? false);
    try {
      const document = await runComparison(chosen, lab, { seed: options.seed, progress });
      progress.finish();
      const { html } = writeReport(document, options.report);
      if (options.json !== undefined) {
        mkdirSync(dirname(options.json), { recursive: true });
        writeFileSync(options.json, JSON.stringify(document, null, 2));
      }
      process.stdout.write(`\n${scoreboard(document.claims)}\n`);
      const failed = document.claims.filter(({ verdict }) => verdict !== 'as expected');
      for (const { name, expectations } of failed) {
        for (const { placement, text, measured, holds } of expectations) if (!holds) process.stdout.write(pc.red(`${name}, ${placement}: expected that ${text}; measured: ${measured}\n`));
      }
      for (const note of document.notes) process.stdout.write(`${note}\n`);
      process.stdout.write(`Report: ${html}\n`);
      process.exitCode = failed.length === 0 ? 0 : 1;
    } finally {
      progress.finish();
      await lab.close();
    }
  });

program
  .command('report')
  .description('prints the newest scoreboard again, and writes its page anew')
  .option('--report <dir>', 'folder for reports', isCompose ? '/reports' : 'reports')
  .action((options: { report: string }) => {
    const folder = join(options.report, 'latest');
    const file = join(folder, 'results.json');
    if (!existsSync(file)) {
      process.stderr.write(`There is no ${file}: nothing was run yet. Start with: npm start\n`);
      process.exitCode = 1;
      return;
    }
    const document = JSON.parse(readFileSync(file, 'utf8')) as ReportDocument;
    writeFileSync(join(folder, 'report.html'), reportHtml(document));
    process.stdout.write(`${scoreboard(document.claims)}\nReport: ${join(folder, 'report.html')}\n`);
  });

program
  .command('serve')
  .description('serves the reports')
  .option('--report <dir>', 'folder for reports', isCompose ? '/reports' : 'reports')
  .option('--host <host>', 'address to listen on', '127.0.0.1')
  .option('--port <port>', 'port to listen on', wholeNumber, 8088)
  .action(async (options: { report: string; host: string; port: number }) => {
    process.stdout.write(`${await serveReports(options.report, options)}\n`);
    process.once('SIGTERM', () => process.exit(0));
  });

program
  .command('up')
  .description('starts the lab and leaves it running, to be tried by hand')
  .action(async () => {
    const progress = createProgress();
    // Where the command line looks for a control plane, and people for a gateway, if nobody else has these ports.
    const lab = await start(progress, true, { 'control-plane/api': 7000, 'gateway/http': 8080 });
    progress.finish();
    for (const { id, ports } of lab.units) process.stdout.write(`${id.padEnd(22)} ${ports.map(({ name }) => `${name} ${lab.url(id, name)}`).join('  ')}\n`);
    const controlPlane = lab.url('control-plane', 'api');
    const named = controlPlane === 'http://127.0.0.1:7000' ? '' : `CONTROL_PLANE_URL=${controlPlane} `;
    process.stdout.write(`\nThe shop is at ${lab.url('gateway', 'http')}.\nThe control plane is at ${controlPlane}: ${named}npm run lab -- status; or get, apply FILE, diff FILE, history, rollback\nCtrl-C stops it.\n`);
    setInterval(() => {}, 2 ** 30);
  });

program
  .command('compose')
  .description('writes docker-compose.yml and its configuration files from the lab’s declaration')
  .action(() => {
    for (const [file, text] of composeFiles()) {
      mkdirSync(dirname(file), { recursive: true });
      writeFileSync(file, text);
    }
  });

program.addCommand(joinTokenCommand());
program.addCommand(joinTokensCommand(), { hidden: true });
for (const command of controlPlaneCommands()) program.addCommand(command);

async function start(progress: Progress, keepFiles: boolean, preferredPorts: Readonly<Record<string, number>> = {}): Promise<Lab> {
  let interrupted = false;
  for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15]] as const) {
    process.on(signal, () => {
      // The lab's processes are killed on exit; a second signal finds nothing left to wait for.
      if (!interrupted) process.stderr.write(`\n${signal}: stopping\n`);
      interrupted = true;
      progress.finish();
      process.exit(128 + number);
    });
  }
  const onProgress = (ready: number, all: number, unit: string): void => progress.step('starting the lab', ready, all, unit);
  if (isCompose) return connectCompose(onProgress);
  const lab = await startEmbedded({ keepFiles, onProgress, preferredPorts });
  if (keepFiles) process.stderr.write(`logs: ${lab.directory}\n`);
  return lab;
}

function knownClaim(name: string): Claim {
  const claim = claims.find((candidate) => candidate.name === name);
  if (claim === undefined) throw new InvalidArgumentError(`There is no such claim; there is ${claims.map((candidate) => candidate.name).join(', ')}.`);
  return claim;
}

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('Not a whole number.');
  return value;
}

await program.parseAsync();
