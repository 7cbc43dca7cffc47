import { isDeepStrictEqual } from 'node:util';
import { ConfigError } from '../../shared/config/load.js';
import { Model } from '../model/model.js';
import type { Resource } from '../model/resources.js';
import { Conflict, type Change, type ResourceChange, type Revision } from './store.js';

/** What a change is made to. */
export interface Resources {
  readonly model: Model;
  readonly version: number;
  /** Version of the whole at which each resource was last changed, by `KIND/NAME`. */
  readonly versions: ReadonlyMap<string, number>;
}

/** What a change would make of resources. Pure. Throws `Conflict`, or a `ConfigError` that names every problem. */
export function makeChange({ model, version, versions }: Resources, change: Change): { readonly model: Model; readonly changes: readonly ResourceChange[] } {
  if (change.expectedVersion !== undefined && change.expectedVersion !== version) throw new Conflict(undefined, '', change.expectedVersion, version);
  for (const { kind, name, version: expected } of change.expected ?? []) {
    const actual = versions.get(`${kind}/${name}`) ?? 0;
    if (actual !== expected) throw new Conflict(kind, name, expected, actual);
  }
  const put = new Map((change.put ?? []).map((resource) => [`${resource.kind}/${resource.name}`, plain(resource)]));
  const removed = new Map((change.remove ?? []).filter(({ kind, name }) => !put.has(`${kind}/${name}`)).map((one) => [`${one.kind}/${one.name}`, one]));
  const changes = [...put.values(), ...removed.values()].flatMap(({ kind, name }): ResourceChange[] => {
    const [before, after] = [model.get(kind, name), put.get(`${kind}/${name}`)];
    return isDeepStrictEqual(before, after) ? [] : [{ kind, name, ...(before && { before }), ...(after && { after }) }];
  });
  const next = withChanges(model, changes);
  const problems = changes.length === 0 ? [] : next.problems();
  if (problems.length > 0) throw new ConfigError(problems, 'resources');
  return { model: next, changes };
}

/** A model with changes made, one after the other, or, of changes turned round, undone. One is made for all of them: each sorts all that is in it. */
export function withChanges(model: Model, changes: readonly ResourceChange[]): Model {
  const resources = new Map(model.all.map((resource) => [`${resource.kind}/${resource.name}`, resource]));
  for (const { kind, name, after } of changes) {
    if (after === undefined) resources.delete(`${kind}/${name}`);
    else resources.set(`${kind}/${name}`, after);
  }
  return Model.of([...resources.values()]);
}

/** What leads back from the newest of these revisions to before the oldest. */
export function wayBack(newestFirst: readonly Revision[]): ResourceChange[] {
  return newestFirst.flatMap(({ changes }) => undone(changes));
}

function undone(changes: readonly ResourceChange[]): ResourceChange[] {
  return changes.map(({ kind, name, before, after }) => ({ kind, name, before: after, after: before }));
}

/** A copy that nobody else holds, and that is what a file would give back. */
function plain(resource: Resource): Resource {
  return JSON.parse(JSON.stringify(resource)) as Resource;
}
