import type { FastifyRequest } from 'fastify';
import { ConfigError } from '../../shared/config/load.js';
import { collections, type Kind, type Resource } from '../model/resources.js';
import { change, addressOf, revisionFor, shown } from './changes.js';
import type { Api, ApiContext } from './context.js';
import { etag, expectedVersion, isKnown, readHeaders, writeHeaders } from './preconditions.js';
import { ApiError } from './problem.js';
import { bodies, changeAnswer, dryRunQuery, listOf, nameParams, noQuery, revision, written } from './schemas.js';
import { historyQuery, listHistory } from './history.js';
import { z } from 'zod';

const tagged = { ETag: 'Tag for If-Match and If-None-Match.' };
const stale = 'The resource is not what If-Match or If-None-Match expects; `current` is what is there.';

/** The resources of each kind, one by one. */
export function resourceRoutes(api: Api, context: ApiContext): void {
  for (const [collection, kind] of Object.entries(collections)) routesOf(api, context, collection, kind);
}

function routesOf(api: Api, { store }: ApiContext, collection: string, kind: Kind): void {
  const tags = [collection];
  const missing = (): ApiError => new ApiError(404, 'not_found', `There is no ${kind} of that name.`);

  api.get(`/v1/${collection}`, {
    config: { need: 'read', answerHeaders: tagged },
    schema: { tags, summary: `Lists every ${kind}`, operationId: `list${kind}`, headers: readHeaders, querystring: noQuery, response: { 200: listOf(kind), 304: unchanged } },
  }, async (request, reply) => {
    const { version, model } = store;
    if (isKnown(request.headers['if-none-match'], version)) return reply.code(304).header('etag', etag(version)).send();
    void reply.header('etag', etag(version));
    return { version, items: model.all.filter((resource) => resource.kind === kind).map((resource) => shown(request, resource)) };
  });

  api.get(`/v1/${collection}/:name`, {
    config: { need: 'read', errors: { 404: 'There is none of that name.' }, answerHeaders: tagged },
    schema: { tags, summary: `Gets a ${kind}`, operationId: `get${kind}`, params: nameParams, headers: readHeaders, querystring: noQuery, response: { 200: written[kind].describe(`The ${kind}, as it was written.`), 304: unchanged } },
  }, async (request, reply) => {
    const { name } = request.params;
    const resource = store.model.get(kind, name);
    if (resource === undefined) throw missing();
    const tag = etag(store.versionOf(kind, name)!);
    void reply.header('etag', tag);
    return isKnown(request.headers['if-none-match'], store.versionOf(kind, name)!) ? reply.code(304).send() : shown(request, resource);
  });

  api.post(`/v1/${collection}`, {
    config: { need: 'write', errors: { 409: 'There is one of that name already; `current` is what is there.' }, answerHeaders: { ...tagged, Location: 'Address of the new resource.' } },
    schema: { tags, summary: `Creates a ${kind}`, operationId: `create${kind}`, querystring: dryRunQuery, body: bodies[kind], response: { 200: changeAnswer.describe('A dry run: what would be created.'), 201: changeAnswer } },
  }, async (request, reply) => {
    const resource = complete(request.body, kind, undefined);
    const expected = [{ kind, name: resource.name, version: 0 }];
    const answer = await change(store, request, reply, { put: [resource], action: 'create', expected }).catch((error: unknown) => {
      if (error instanceof ApiError && error.status === 412) throw new ApiError(409, 'exists', `There is a ${kind} of that name already.`, error.more);
      throw error;
    });
    if (request.isDryRun) return answer;
    return reply.code(201).headers({ location: addressOf(resource), etag: etag(answer.version) }).send(answer);
  });

  api.put(`/v1/${collection}/:name`, {
    config: { need: 'write', errors: { 412: stale }, answerHeaders: tagged },
    schema: { tags, summary: `Creates a ${kind}, or replaces it`, operationId: `put${kind}`, params: nameParams, headers: writeHeaders, querystring: dryRunQuery, body: bodies[kind], response: { 200: changeAnswer } },
  }, async (request, reply) => {
    const { name } = request.params;
    const resource = complete(request.body, kind, name);
    const answer = await change(store, request, reply, { put: [resource], action: 'update', ...expecting(request, kind, name, store.versionOf(kind, name) ?? 0) });
    // Others may have changed it by now: their tag would let the caller overwrite what it has never seen.
    const version = request.changed?.changes[0]?.after ?? store.versionOf(kind, name);
    if (version !== undefined && version <= answer.version) void reply.header('etag', etag(version));
    return answer;
  });

  api.delete(`/v1/${collection}/:name`, {
    config: { need: 'write', errors: { 404: 'There is none of that name.', 412: stale } },
    schema: { tags, summary: `Deletes a ${kind}`, description: 'Refused with 422 while others refer to it.', operationId: `delete${kind}`, params: nameParams, headers: writeHeaders, querystring: dryRunQuery, response: { 200: changeAnswer } },
  }, async (request, reply) => {
    const { name } = request.params;
    const present = store.versionOf(kind, name);
    if (present === undefined && request.headers['if-match'] === undefined) throw missing();
    return change(store, request, reply, { remove: [{ kind, name }], action: 'delete', ...expecting(request, kind, name, present ?? 0) });
  });

  api.get(`/v1/${collection}/:name/history`, {
    config: { need: 'read' },
    schema: { tags: [...tags, 'history'], summary: `What became of a ${kind}, newest first`, description: 'Also of one that was deleted.', operationId: `history${kind}`, params: nameParams, querystring: historyQuery, response: { 200: z.object({ version: z.int(), items: z.array(revision) }).describe('Revisions, with this resource alone.') } },
  }, async (request) => {
    const { name } = request.params;
    const revisions = await listHistory(store, request.query, (each) => each.kind === kind && each.name === name);
    return { version: store.version, items: revisions.map((each) => revisionFor(request, each)) };
  });
}

const unchanged = z.null().describe('The caller has it already.');

/** A resource, with the kind and name that its address says. */
function complete(body: Partial<Resource>, kind: Kind, name: string | undefined): Resource {
  const problems = [
    ...(body.kind !== undefined && body.kind !== kind ? [{ path: 'kind', message: `is ${body.kind}, and the address says ${kind}` }] : []),
    ...(name !== undefined && body.name !== undefined && body.name !== name ? [{ path: 'name', message: `is ${body.name}, and the address says ${name}` }] : []),
    ...(name === undefined && body.name === undefined ? [{ path: 'name', message: 'is missing' }] : []),
  ];
  if (problems.length > 0) throw new ConfigError(problems);
  return { kind, name: body.name ?? name, ...body } as Resource;
}

function expecting(request: FastifyRequest, kind: Kind, name: string, present: number): { expected?: readonly { kind: Kind; name: string; version: number }[] } {
  const version = expectedVersion(request.headers, present);
  return version === undefined ? {} : { expected: [{ kind, name, version }] };
}
