import { Command } from 'commander';
import { setTimeout as pause } from 'node:timers/promises';
import { duration } from '../../shared/config/units.js';
import { interceptedSidecar, units } from '../lab/declaration.js';
import { writeJoinTokens } from '../lab/join-tokens.js';
import { hostOf, joinTokenFile, labToken, portOf } from './generate.js';

/** `join-tokens`: what a container of the lab does for the others, again and again, since each token is good once. */
export function joinTokensCommand(): Command {
  return new Command('join-tokens')
    .requiredOption('--every <duration>', 'how often', (text) => duration.parse(text))
    .action(async ({ every }: { every: number }) => {
      const controlPlane = units.find(({ id }) => id === 'control-plane')!;
      process.once('SIGTERM', () => process.exit(0));
      for (;;) {
        await writeJoinTokens({ units: [...units, interceptedSidecar], controlPlane: `http://${hostOf(controlPlane)}:${portOf(controlPlane, 'api')}`, token: labToken('lab'), fileOf: joinTokenFile }).catch((error: unknown) =>
          process.stderr.write(`${(error as Error).message}; trying again\n`),
        );
        await pause(every);
      }
    });
}
