import { createHash } from 'node:crypto';
import { z } from 'zod';
import { ConfigError, parseConfig } from '../../shared/config/load.js';
import { Model } from '../model/model.js';

import { writtenResource } from '../model/written.js';
import type { Resources } from './make-change.js';
import type { Revision } from './store.js';

/** A revision, and the text that it is in the file: made once, since the file is written anew with each change. */
interface KeptRevision extends Revision {
  readonly text: string;
}

/** All that the embedded store knows: what is there now, and how it came about, oldest first. */
export interface StoreState extends Resources {
  readonly history: readonly KeptRevision[];
}

export const emptyState: StoreState = { model: Model.empty, version: 0, versions: new Map(), history: [] };

const version = z.int().min(0);
const kind = z.enum(['Service', 'Route', 'Policy', 'Identity']);
const changeSchema = z.strictObject({ kind, name: z.string(), before: z.unknown().optional(), after: z.unknown().optional() });
const contentSchema = z.strictObject({
  version,
  resources: z.array(z.strictObject({ version, resource: writtenResource })),
  // What was valid once may not be by today's schemas; it is checked when somebody rolls back to it.
  history: z.array(z.strictObject({ version, at: z.string(), by: z.string(), action: z.string(), changes: z.array(changeSchema) })),
});
/** The form of before there was history. */
const oldSchema = z.strictObject({ version, resources: z.array(writtenResource) });

const head = (digest: string): string => `{"format":2,"sha256":"${digest}","content":`;
const tail = '}\n';

/** The file's text, in pieces. A checksum guards the content: a disk that loses or turns bits is found out. */
export function writeState({ model, version, versions, history }: StoreState): string[] {
  const resources = model.all.map((resource) => `{"version":${versions.get(`${resource.kind}/${resource.name}`) ?? 0},"resource":${JSON.stringify(resource)}}`);
  const content = `{"version":${version},\n"resources":[\n${resources.join(',\n')}\n],\n"history":[\n${history.map(({ text }) => text).join(',\n')}\n]}`;
  return [head(sha256(content)), content, tail];
}

/** Reads the file's text, also in its old form. Throws a `ConfigError` that says what is wrong with it. */
export function readState(text: string, source: string): StoreState {
  const damaged = (what: string): ConfigError => new ConfigError([{ path: '', message: `${what}. Nothing was changed; put a backup in its place, or move it away to begin anew` }], source);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw damaged('the file of resources is damaged: it is not whole JSON');
  }
  try {
    if (!isCurrent(document)) {
      const { version, resources } = parseConfig(document, oldSchema);
      return { model: Model.of(resources), version, versions: new Map(resources.map(({ kind, name }) => [`${kind}/${name}`, version])), history: [] };
    }
    if (document.format !== 2) throw damaged(`the file of resources has format ${JSON.stringify(document.format)}; this program reads format 2 and the one before`);
    const content = text.slice(head('0'.repeat(64)).length, text.lastIndexOf(tail.trimEnd()));
    if (sha256(content) !== document.sha256) throw damaged('the file of resources is damaged: its contents are not those of its checksum');
    const { version, resources, history } = parseConfig(document.content, contentSchema);
    return {
      model: Model.of(resources.map(({ resource }) => resource)),
      version,
      versions: new Map(resources.map(({ version, resource }) => [`${resource.kind}/${resource.name}`, version])),
      history: history.map((revision) => keep(revision as Revision)),
    };
  } catch (error) {
    if (!(error instanceof ConfigError) || error.source === source) throw error;
    throw new ConfigError(error.problems.map(({ path, message }) => ({ path, message: `${message} (in the file of resources; nothing was changed)` })), source);
  }
}

/** A revision as it is kept. */
export function keep({ version, at, by, action, changes }: Revision): KeptRevision {
  return { version, at, by, action, changes, text: JSON.stringify({ version, at, by, action, changes }) };
}

/** The newest revisions that stay within both bounds; the newest of all in any case. `bytes` are characters of JSON. */
export function bounded(history: readonly KeptRevision[], { revisions, bytes }: { readonly revisions: number; readonly bytes: number }): readonly KeptRevision[] {
  let first = history.length;
  for (let used = 0; first > 0 && history.length - first < revisions; first--) {
    used += history[first - 1]!.text.length;
    if (used > bytes && first < history.length) break;
  }
  return first === 0 ? history : history.slice(first);
}

function isCurrent(document: unknown): document is { format: unknown; sha256: unknown; content: unknown } {
  return typeof document === 'object' && document !== null && 'format' in document;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

