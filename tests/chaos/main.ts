import { Command, InvalidArgumentError } from 'commander';
import { runChaos } from './chaos.js';
import { summary, violations } from './verdict.js';

/* `npm run chaos -- --seconds 180`: the chaos of the test run, for as long as one likes, and with another seed each time. */

const number = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('Not a whole number above 0.');
  return value;
};

const { seconds, seed } = new Command('chaos')
  .description('Lets endpoints crash, hang, slow down and return under load through both proxies')
  .option('--seconds <n>', 'how long', number, 30)
  .option('--seed <n>', 'the same seed gives the same faults; default: another one each time', number, 1 + (Date.now() % 1_000_000))
  .parse()
  .opts<{ seconds: number; seed: number }>();

const report = await runChaos({ seconds, seed });
process.stdout.write(`${summary(report)}\n`);
const wrong = violations(report);
for (const line of wrong) process.stdout.write(`${line}\n`);
if (wrong.length > 0) process.stdout.write(`again: npm run chaos -- --seconds ${seconds} --seed ${seed}\n`);
process.exitCode = wrong.length === 0 ? 0 : 1;
