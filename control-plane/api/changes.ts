import type { FastifyReply, FastifyRequest } from 'fastify';
import { ConfigError, type Problem } from '../../shared/config/load.js';
import { redact } from '../../shared/config/redact.js';
import { collectionOf, type Kind, type Resource } from '../model/resources.js';
import { Conflict, type Change, type ResourceChange, type Revision, type Store } from '../sources/store.js';
import { etag } from './preconditions.js';
import { ApiError } from './problem.js';

type WantedChange = Omit<Change, 'by'>;

/** What readers are shown in place of secrets; nobody may mean it. */
const redacted = '[redacted]';

/**
 * Makes a change for a caller, or with `?dryRun=true` says what it would be, and answers. Takes down for the audit log what became of it.
 */
export async function change(store: Store, request: FastifyRequest, reply: FastifyReply, wanted: WantedChange): Promise<{ readonly version: number; readonly dryRun?: true; readonly changes: readonly object[] }> {
  const isDryRun = (request.query as { dryRun?: string }).dryRun === 'true';
  request.isDryRun = isDryRun;
  checkForRedacted(wanted.put ?? []);
  const full = { ...wanted, by: request.caller.name };
  try {
    if (isDryRun) return { version: store.version, dryRun: true, changes: (await store.dryRun(full)).map(({ kind, name, before, after }) => ({ kind, name, action: actionOf({ before, after }), before, after })) };
    const versionsBefore = new Map([...(wanted.put ?? []), ...(wanted.remove ?? [])].map(({ kind, name }) => [`${kind}/${name}`, store.versionOf(kind, name) ?? 0]));
    const present = store.version;
    const version = await store.change(full);
    const changes = version === present ? [] : await changesOf(store, version, full);
    request.changed = {
      version,
      changes: changes.map(({ kind, name, after }) => ({ kind, name, before: versionsBefore.get(`${kind}/${name}`) ?? 0, after: after === undefined ? 0 : version })),
    };
    return { version, changes: changes.map(summaryOf) };
  } catch (error) {
    if (error instanceof Conflict) throw changedMeanwhile(error, store, reply);
    throw error;
  }
}

/** 412, with what is there now, without its secrets: errors end up in logs. */
function changedMeanwhile({ kind, resource: name, actual }: Conflict, store: Store, reply: FastifyReply): ApiError {
  if (kind === undefined) return new ApiError(412, 'changed_meanwhile', 'The resources have changed since.', { members: { current: { version: store.version } }, headers: { etag: etag(store.version) } });
  const resource = store.model.get(kind, name);
  if (resource === undefined) return new ApiError(412, 'changed_meanwhile', `There is no ${kind} of that name.`, { members: { current: { version: 0 } } });
  void reply.header('etag', etag(actual));
  return new ApiError(412, 'changed_meanwhile', `The ${kind} is not what the request expected.`, { members: { current: { version: actual, resource: redact(resource) } } });
}

/**
 * What a change did. One that found nothing to do may resolve with a version that somebody else has made meanwhile: only what was asked for, by the
 * same caller, counts.
 */
async function changesOf(store: Store, version: number, { by, action, put = [], remove = [] }: Change): Promise<readonly ResourceChange[]> {
  const asked = new Set([...put, ...remove].map(({ kind, name }) => `${kind}/${name}`));
  const history = await store.history(Math.max(1, store.version - version + 1));
  const made = history.find((revision) => revision.version === version && revision.by === by && revision.action === action);
  return made?.changes.filter(({ kind, name }) => asked.has(`${kind}/${name}`)) ?? [];
}

function actionOf({ before, after }: Pick<ResourceChange, 'before' | 'after'>): 'created' | 'updated' | 'deleted' {
  return before === undefined ? 'created' : after === undefined ? 'deleted' : 'updated';
}

export function summaryOf(change: ResourceChange): object {
  return { kind: change.kind, name: change.name, action: actionOf(change) };
}

/** A revision as a caller may see it, with the resources that it changed. */
export function revisionFor(request: FastifyRequest, { version, at, by, action, changes }: Revision): object {
  return { version, at, by, action, changes: changes.map((each) => ({ ...summaryOf(each), before: shown(request, each.before), after: shown(request, each.after) })) };
}

/** Whoever may change resources sees them as they are; to others secrets are not shown. */
export function shown<T>(request: FastifyRequest, value: T): T {
  return request.caller.role === 'write' ? value : (redact(value) as T);
}

export function addressOf({ kind, name }: { readonly kind: Kind; readonly name: string }): string {
  return `/v1/${collectionOf(kind)}/${name}`;
}

/** A document that was read by somebody who may not see secrets must not overwrite them. */
function checkForRedacted(resources: readonly Resource[]): void {
  const problems: Problem[] = [];
  const look = (value: unknown, path: string): void => {
    if (typeof value === 'string' && value.includes(redacted)) problems.push({ path, message: `holds ${redacted}, which readers are shown in place of a secret: expected the value itself` });
    else if (Array.isArray(value)) value.forEach((inner, index) => look(inner, `${path}[${index}]`));
    else if (typeof value === 'object' && value !== null) for (const [key, inner] of Object.entries(value)) look(inner, `${path}.${key}`);
  };
  for (const resource of resources) look(resource, `${resource.kind}/${resource.name}`);
  if (problems.length > 0) throw new ConfigError(problems);
}
