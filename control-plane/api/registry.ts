import { z } from 'zod';
import { identityNameSchema, labelsSchema, weightSchema, writeEndpoint, zoneSchema } from '../../shared/config/endpoints.js';
import { address, duration } from '../../shared/config/units.js';
import { parseSpiffeId } from '../../shared/identity/spiffe.js';
import type { Model } from '../model/model.js';
import { RegistryFull } from '../sources/instances.js';
import { forbidden, isBound, type Caller } from './access.js';
import type { Api, ApiContext } from './context.js';
import { ApiError } from './problem.js';
import { noQuery } from './schemas.js';

/** When those may come again for whom there was no room (s). */
const retryAfter = '10';
const leaseBounds = { least: 100, most: 3_600_000 } as const;

const registration = z
  .strictObject({
    address: address.describe('Where callers reach it: host:port, or unix:/path.'),
    zone: zoneSchema.optional(),
    weight: weightSchema.default(1),
    labels: labelsSchema.default({}),
    identity: identityNameSchema.optional().describe('SPIFFE name that it proves; it must be that of the service in this mesh: in its trust domain, and in a namespace that the service runs in.'),
    ttl: duration.refine((ttl) => ttl >= leaseBounds.least && ttl <= leaseBounds.most, 'expected 100ms to 1h').describe('Length of the lease.'),
  })
  .meta({ 'x-name': 'Registration' });

const instance = z
  .looseObject({ service: z.string(), instance: z.string(), address: z.string(), leaseMs: z.number().describe('What is left of its lease.') })
  .meta({ 'x-name': 'Instance' });

const part = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'expected letters, digits, dots, hyphens and underscores');
const instanceParams = z.object({ service: part, instance: part.describe('Tells it from the service’s others.') });

/** Which instances of which service are there. A proxy speaks for its own service alone. */
export function registryRoutes(api: Api, { registry, store, trustDomain }: ApiContext): void {
  const tags = ['registry'];
  const theirs = { 403: 'The instance is of another service than the caller, or its identity is.' };

  api.get('/v1/registry', {
    config: { need: 'any' },
    schema: { tags, summary: 'Lists instances', description: 'To a proxy, those of its own service.', operationId: 'listInstances', querystring: noQuery, response: { 200: z.object({ instances: z.array(instance) }).describe('Instances.') } },
  }, async (request) => ({
    instances: registry.instances
      .filter(({ service }) => request.caller.role !== 'proxy' || request.caller.service === service)
      .map(({ service, instance, endpoint, leaseMs }) => ({ service, instance, ...(typeof endpoint === 'string' ? { address: endpoint } : endpoint), leaseMs })),
  }));

  api.put('/v1/registry/:service/:instance', {
    config: { need: 'proxy', errors: { ...theirs, 503: 'There is no room for another instance; `Retry-After` says when to come again.' } },
    schema: { tags, summary: 'Registers an instance, or renews its lease', operationId: 'register', params: instanceParams, querystring: noQuery, body: registration, response: { 200: z.object({ ttl: z.number() }).describe('It is known.') } },
  }, async (request) => {
    const { service, instance } = request.params;
    const { ttl, address, zone, weight, labels, identity } = request.body;
    checkOwn(request.caller, service, instance, identity);
    if (identity !== undefined) checkName(identity, service, trustDomain, store.model);
    await registry.register({ service, instance, endpoint: writeEndpoint({ address, zone, weight, labels, priority: 0, ...(identity !== undefined && { identity }) }) }, ttl).catch((error: unknown) => {
      throw error instanceof RegistryFull ? new ApiError(503, 'registry_full', error.message, { headers: { 'retry-after': retryAfter } }) : error;
    });
    return { ttl };
  });

  api.delete('/v1/registry/:service/:instance', {
    config: { need: 'proxy', errors: theirs },
    schema: { tags, summary: 'Takes an instance out', operationId: 'deregister', params: instanceParams, querystring: noQuery, response: { 204: z.null().describe('It is not there, or not any more.') } },
  }, async (request, reply) => {
    const { service, instance } = request.params;
    checkOwn(request.caller, service, instance, undefined);
    await registry.deregister(service, instance);
    return reply.code(204).send();
  });
}

function checkOwn(caller: Caller, service: string, instance: string, identity: string | undefined): void {
  if (caller.role === 'proxy') {
    if (caller.service !== service) throw forbidden(`${caller.name} does not speak for the service of that name.`);
    if (caller.node !== undefined && caller.node !== instance) throw forbidden(`${caller.name} speaks for the instance ${caller.node} alone.`);
    if (caller.identity !== undefined && identity !== undefined && caller.identity !== identity) throw forbidden(`${caller.name} does not prove the identity that it registers.`);
  }
}

/** An endpoint with a name of another service, or of one of its name elsewhere, would have callers believe that it is that. */
function checkName(identity: string, service: string, trustDomain: string | undefined, model: Model): void {
  const id = parseSpiffeId(identity);
  if (id?.service !== service) throw forbidden('The identity is not one of the service.');
  if (trustDomain !== undefined && id.trustDomain !== trustDomain) throw forbidden(`The identity is of the trust domain ${id.trustDomain}, and this mesh is ${trustDomain}.`);
  if (!isBound(id, model)) throw forbidden(`No Identity says that ${service} runs in namespace ${id.namespace}.`);
}
