import { z } from 'zod';
import { ConfigError, type Problem } from '../../shared/config/load.js';
import type { Resource } from '../model/resources.js';
import { writtenResource } from '../model/written.js';
import { change } from './changes.js';
import type { Api, ApiContext } from './context.js';
import { expectedVersion, wholeHeaders } from './preconditions.js';
import { changeAnswer, dryRunQuery } from './schemas.js';
import { changeWhole } from './whole.js';

const maxDocuments = 10_000;

const applyQuery = dryRunQuery.extend({
  prune: z.enum(['true', 'false']).optional().describe('Whether to delete every resource, of any kind, that the request does not name.'),
});

/** Many resources at once, all or nothing. */
export function applyRoutes(api: Api, { store }: ApiContext): void {
  api.post('/v1/apply', {
    config: { need: 'write', errors: { 412: 'The whole is not what If-Match expects.' } },
    schema: {
      tags: ['changes'], summary: 'Creates or replaces many resources at once, all or none', operationId: 'apply',
      headers: wholeHeaders, querystring: applyQuery, body: z.array(writtenResource).max(maxDocuments), response: { 200: changeAnswer },
    },
  }, async (request, reply) => {
    const resources = request.body;
    checkOnce(resources);
    const ifMatch = request.headers['if-match'];
    if (request.query.prune !== 'true') {
      const version = expectedVersion({ 'if-match': ifMatch }, store.version);
      return change(store, request, reply, { put: resources, action: 'apply', ...(version !== undefined && { expectedVersion: version }) });
    }
    if (resources.length === 0) throw new ConfigError([{ path: '', message: 'nothing is named, and prune would delete everything; delete resources one by one if that is meant' }]);
    const named = new Set(resources.map(({ kind, name }) => `${kind}/${name}`));
    return changeWhole(store, ifMatch, ({ model, expectedVersion }) =>
      change(store, request, reply, { put: resources, remove: model.all.filter(({ kind, name }) => !named.has(`${kind}/${name}`)).map(({ kind, name }) => ({ kind, name })), action: 'apply and prune', expectedVersion }),
    );
  });
}

function checkOnce(resources: readonly Resource[]): void {
  const seen = new Map<string, number>();
  const problems: Problem[] = [];
  resources.forEach(({ kind, name }, index) => {
    const first = seen.get(`${kind}/${name}`);
    if (first === undefined) seen.set(`${kind}/${name}`, index);
    else problems.push({ path: `[${index}].name`, message: `${kind}/${name} is [${first}] already` });
  });
  if (problems.length > 0) throw new ConfigError(problems);
}
