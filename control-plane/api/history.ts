import { z } from 'zod';
import { ConfigError } from '../../shared/config/load.js';
import type { Model } from '../model/model.js';
import { resourceSchema, type Resource } from '../model/resources.js';
import type { ResourceChange, Revision, Store } from '../sources/store.js';
import { change, revisionFor, shown, summaryOf } from './changes.js';
import type { Api, ApiContext } from './context.js';
import { wholeHeaders } from './preconditions.js';
import { ApiError } from './problem.js';
import { changeAnswer, dryRunQuery, revision, revisionSummary, versionParams } from './schemas.js';
import { changeWhole } from './whole.js';

const maxRevisions = 1_000;
const count = z.coerce.number().int().min(1).max(maxRevisions).default(50);

export const historyQuery = z.strictObject({
  limit: count.describe(`How many, newest first; at most ${maxRevisions}.`),
  before: z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER).optional().describe('Only versions below this one: the next page.'),
});

const beyond = 'History does not reach that version; `oldest` is the oldest that it does.';

/** Who changed what and when, and the way back. */
export function historyRoutes(api: Api, { store }: ApiContext): void {
  const tags = ['history'];

  api.get('/v1/history', {
    config: { need: 'read' },
    schema: { tags, summary: 'Lists revisions, newest first', operationId: 'listHistory', querystring: historyQuery, response: { 200: z.object({ version: z.int(), items: z.array(revisionSummary) }).describe('Revisions.') } },
  }, async (request) => {
    const revisions = await listHistory(store, request.query);
    return { version: store.version, items: revisions.map(({ changes, version, at, by, action }) => ({ version, at, by, action, changes: changes.map(summaryOf) })) };
  });

  api.get('/v1/history/:version', {
    config: { need: 'read', errors: { 404: beyond } },
    schema: {
      tags, summary: 'Gets a revision: what it changed, from what to what', operationId: 'getRevision', params: versionParams,
      querystring: z.strictObject({ resources: z.enum(['true', 'false']).optional().describe('Whether to name all resources as they were, too.') }),
      response: { 200: revision },
    },
  }, async (request) => {
    const { version } = request.params;
    const found = (await store.history(maxRevisions)).find((each) => each.version === version);
    const model = request.query.resources === 'true' ? await store.at(version) : undefined;
    if (found === undefined) throw await notInHistory(store);
    return { ...revisionFor(request, found), ...(model !== undefined && { resources: model.all.map((resource) => shown(request, resource)) }) };
  });

  api.post('/v1/rollback', {
    config: { need: 'write', errors: { 404: beyond, 412: 'The whole is not what If-Match expects.' } },
    schema: {
      tags, summary: 'Goes back to a version', description: 'Makes a new version that is equal to the old one. Refused with 422 where today’s rules do not allow what was there.', operationId: 'rollback',
      headers: wholeHeaders, querystring: dryRunQuery, body: z.strictObject({ version: z.int().min(0).describe('The version to go back to.') }), response: { 200: changeAnswer },
    },
  }, async (request, reply) => {
    const { version } = request.body;
    const target = await store.at(version);
    if (target === undefined) throw await notInHistory(store);
    checkAgain(target);
    return changeWhole(store, request.headers['if-match'], ({ model, expectedVersion }) =>
      change(store, request, reply, {
        put: target.all,
        remove: model.all.filter(({ kind, name }) => target.get(kind, name) === undefined).map(({ kind, name }) => ({ kind, name })),
        action: `rollback to ${version}`,
        expectedVersion,
      }),
    );
  });
}

/** A page of history; of each revision only the changes that count, and none that has none of these. */
export async function listHistory(store: Store, { limit, before }: { readonly limit: number; readonly before?: number | undefined }, counts: (change: ResourceChange) => boolean = () => true): Promise<Revision[]> {
  const revisions = await store.history(maxRevisions);
  return revisions
    .filter(({ version }) => before === undefined || version < before)
    .flatMap((each) => {
      const changes = each.changes.filter(counts);
      return changes.length === 0 ? [] : [{ ...each, changes }];
    })
    .slice(0, limit);
}

async function notInHistory(store: Store): Promise<ApiError> {
  const oldest = (await store.history(maxRevisions)).at(-1)?.version;
  return new ApiError(404, 'not_in_history', 'History does not have that version.', { members: oldest === undefined ? {} : { oldest } });
}

/** What was right once may not be by today's schemas. */
function checkAgain({ all }: Model): void {
  const problems = all.flatMap((resource: Resource) => (resourceSchema.safeParse(resource).error?.issues ?? []).map(({ path, message }) => ({ path: [`${resource.kind}/${resource.name}`, ...path].map(String).join('.'), message })));
  if (problems.length > 0) throw new ConfigError(problems);
}
