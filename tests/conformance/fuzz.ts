import { Command, InvalidArgumentError } from 'commander';
import { compare } from './differential.js';

/* `npm run fuzz -- --heads 1000000 --seed 7`: the differential test of the test run, for as long as one likes. */

const number = (text: string): number => {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('Not a whole number.');
  return value;
};

const { heads, seed } = new Command('fuzz')
  .description('Compares the engine with node:http on generated requests')
  .option('--heads <n>', 'requests', number, 20_000)
  .option('--seed <n>', 'the same seed gives the same requests', number, 1)
  .parse()
  .opts<{ heads: number; seed: number }>();

const batch = 20_000;
let failed = false;
for (let done = 0; done < heads; done += batch) {
  const { differences, ...counts } = await compare(seed + done, Math.min(batch, heads - done));
  process.stdout.write(`${JSON.stringify({ seed: seed + done, ...counts, differences: differences.length })}\n`);
  for (const { bytes, reason } of differences) process.stdout.write(`${JSON.stringify(bytes)}\n  ${reason}\n`);
  failed ||= differences.length > 0;
}
process.exitCode = failed ? 1 : 0;
