import { Command, InvalidArgumentError } from 'commander';
import { controlPlaneCommands } from '../control-plane/client/commands.js';
import { endWithReader } from '../shared/process/end-with-reader.js';
import type { RunOptions } from './commands.js';
import { joinTokensCommand } from './compose/join-tokens.js';
import { joinTokenCommand } from './join-token.js';

/** Loaded when it is known to be needed: a question to a control plane would load all claims. */
const commands = (): Promise<typeof import('./commands.js')> => import('./commands.js');

endWithReader();

const isCompose = process.env['LAB_MODE'] === 'compose';

const program = new Command('lab').description('Ambassador or sidecar? The same traffic and the same faults against each placement, measured.');

program
  .command('list')
  .description('lists the claims')
  .action(async () => (await commands()).list());

program
  .command('run')
  .description('runs claims, all of them without a name, and writes the report')
  .argument('[claim...]', 'names of claims')
  .option('--json <file>', 'writes the results to this file too')
  .option('--report <dir>', 'folder for reports', isCompose ? '/reports' : 'reports')
  .option('--seed <n>', 'seed of traffic and faults', wholeNumber, 1)
  .option('--keep-logs', 'keeps the logs of the lab’s processes')
  .action(async (names: string[], options: RunOptions, command: Command) => (await commands()).run(names, options, (message) => command.error(`error: ${message}`)));

program
  .command('report')
  .description('prints the newest scoreboard again, and writes its page anew')
  .option('--report <dir>', 'folder for reports', isCompose ? '/reports' : 'reports')
  .action(async (options: { report: string }) => (await commands()).report(options));

program
  .command('serve')
  .description('serves the reports')
  .option('--report <dir>', 'folder for reports', isCompose ? '/reports' : 'reports')
  .option('--host <host>', 'address to listen on', '127.0.0.1')
  .option('--port <port>', 'port to listen on', portNumber, 8088)
  .action(async (options: { report: string; host: string; port: number }) => (await commands()).serve(options));

program
  .command('up')
  .description('starts the lab and leaves it running, to be tried by hand')
  .action(async () => (await commands()).up());

program
  .command('compose')
  .description('writes docker-compose.yml and its configuration files from the lab’s declaration')
  .action(async () => (await commands()).compose());

program.addCommand(joinTokenCommand());
program.addCommand(joinTokensCommand(), { hidden: true });
for (const command of controlPlaneCommands()) program.addCommand(command);

function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('Not a whole number.');
  return value;
}

function portNumber(text: string): number {
  const value = wholeNumber(text);
  if (value > 65_535) throw new InvalidArgumentError('Not a port: above 65535.');
  return value;
}

await program.parseAsync();
