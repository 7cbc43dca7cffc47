import type { Command } from 'commander';
import { createTwoFilesPatch } from 'diff';
import { collectionOf, type Kind, type Resource } from '../model/resources.js';
import type { ChangeAnswer, HistoryAnswer } from './answers.js';
import { ControlPlaneError, type Connection } from './client.js';
import { controlPlaneCommand, kindOf, versionOf, withClient, withDocuments } from './command.js';
import { readDocuments } from './documents.js';
import { print, printChange, yamlOf } from './output.js';

interface ChangeOptions extends Connection {
  readonly dryRun?: true;
  readonly prune?: true;
}

/** kubectl's: 0 where nothing differs, 1 where something does, more where it could not be found out. */
const diffFailure = 2;

export function applyCommand(): Command {
  return controlPlaneCommand('apply', 'creates or replaces resources, all or none')
    .argument('<file...>', 'YAML or JSON, several documents in each if there are; - is stdin')
    .option('--dry-run', 'says what would be changed, and changes nothing')
    .option('--prune', 'deletes every resource that the files do not name')
    .action((files: string[], options: ChangeOptions) =>
      withDocuments(options, () => readDocuments(files), async (client, documents) => {
        const resources = documents.map(({ value }) => value as Resource);
        printChange(await client.call<ChangeAnswer>('POST', `/v1/apply${query(options)}`, resources), resources);
      }),
    );
}

export function diffCommand(): Command {
  return controlPlaneCommand('diff', 'shows what apply would change; exits 1 if anything')
    .argument('<file...>', 'YAML or JSON, several documents in each if there are; - is stdin')
    .option('--prune', 'as if every resource that the files do not name were deleted')
    .action((files: string[], options: ChangeOptions) =>
      withDocuments(options, () => readDocuments(files), async (client, documents) => {
        const { changes } = await client.call<ChangeAnswer>('POST', `/v1/apply${query({ ...options, dryRun: true })}`, documents.map(({ value }) => value));
        for (const { kind, name, before, after } of changes) {
          const text = (resource: Resource | undefined): string => (resource === undefined ? '' : yamlOf(resource, { sorted: true }));
          const side = (where: string, resource: Resource | undefined): string => (resource === undefined ? '/dev/null' : `${where}/${kind}/${name}`);
          print(createTwoFilesPatch(side('live', before), side('new', after), text(before), text(after), undefined, undefined, { context: 3 }).replace(/^=+\n/, ''));
        }
        if (changes.length > 0) process.exitCode = 1;
      }, diffFailure),
    );
}

export function deleteCommand(): Command {
  return controlPlaneCommand('delete', 'deletes a resource, unless others refer to it')
    .argument('<kind>', 'kind of the resource', kindOf)
    .argument('<name>', 'its name')
    .option('--dry-run', 'says whether it could be, and changes nothing')
    .action((kind: Kind, name: string, options: ChangeOptions) =>
      withClient(options, async (client) => printChange(await client.call<ChangeAnswer>('DELETE', `/v1/${collectionOf(kind)}/${encodeURIComponent(name)}${query(options)}`), [{ kind, name }])),
    );
}

export function rollbackCommand(): Command {
  return controlPlaneCommand('rollback', 'goes back to a version, by a new one that is equal to it')
    .argument('[version]', 'the version to go back to; default: the one before the newest', versionOf)
    .option('--dry-run', 'says what would be changed, and changes nothing')
    .action((version: number | undefined, options: ChangeOptions) =>
      withClient(options, async (client) => {
        const target = version ?? (await versionBefore((path) => client.call('GET', path)));
        const answer = await client.call<ChangeAnswer>('POST', `/v1/rollback${query(options)}`, { version: target });
        if (answer.changes.length === 0) print(`nothing differs from version ${target}`);
        printChange(answer);
      }),
    );
}

async function versionBefore(get: (path: string) => Promise<HistoryAnswer>): Promise<number> {
  const { items } = await get('/v1/history?limit=2');
  if (items[0] === undefined) throw new ControlPlaneError('There is no history: nothing to go back to.');
  return items[1]?.version ?? items[0].version - 1;
}

function query({ dryRun, prune }: Pick<ChangeOptions, 'dryRun' | 'prune'>): string {
  const parts = [...(dryRun ? ['dryRun=true'] : []), ...(prune ? ['prune=true'] : [])];
  return parts.length === 0 ? '' : `?${parts.join('&')}`;
}
