import Table from 'cli-table3';
import pc from 'picocolors';
import { stringify } from 'yaml';
import { Option } from 'commander';
import type { ChangeAnswer } from './answers.js';

const formats = ['table', 'yaml', 'json'] as const;
export type Format = (typeof formats)[number];

export function formatOption(): Option {
  return new Option('-o, --output <format>', 'how to print').choices(formats).default('table');
}

export function print(text: string): void {
  process.stdout.write(text.endsWith('\n') ? text : `${text}\n`);
}

/** Prints resources, or whatever it is: as a table, or as documents that `apply` takes again. */
export function printItems(items: readonly object[], format: Format, table: () => string): void {
  if (format === 'json') print(JSON.stringify(items, null, 2));
  else if (format === 'yaml') print(items.map((item) => yamlOf(item)).join('---\n'));
  else print(table());
}

export function yamlOf(value: unknown, { sorted = false } = {}): string {
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false, sortMapEntries: sorted });
}

const none = { 'top': '', 'top-mid': '', 'top-left': '', 'top-right': '', 'bottom': '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '', 'left': '', 'left-mid': '', 'mid': '', 'mid-mid': '', 'right': '', 'right-mid': '', 'middle': '  ' };

export function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({ head: head.map((name) => name.toUpperCase()), chars: none, style: { 'head': [], 'border': [], 'padding-left': 0, 'padding-right': 0 } });
  table.push(...rows.map((row) => [...row]));
  return table.toString().split('\n').map((line) => line.trimEnd()).join('\n');
}

/** What a change did, or would do, a line each. */
export function printChange({ version, dryRun, changes }: ChangeAnswer, asked: readonly { kind: string; name: string }[] = []): void {
  const suffix = dryRun === true ? ' (dry run)' : '';
  const colours = { created: pc.green, updated: pc.yellow, deleted: pc.red } as const;
  for (const { kind, name, action } of changes) print(`${kind}/${name} ${colours[action](action)}${suffix}`);
  for (const { kind, name } of asked) if (!changes.some((change) => change.kind === kind && change.name === name)) print(`${kind}/${name} unchanged${suffix}`);
  if (dryRun !== true) print(`version ${version}`);
}
