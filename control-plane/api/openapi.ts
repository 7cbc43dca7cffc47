import swagger, { type SwaggerTransform, type SwaggerTransformObject } from '@fastify/swagger';
import type { FastifyContextConfig, FastifySchema } from 'fastify';
import { z } from 'zod';
import type { Api } from './context.js';
import { problemDocument } from './schemas.js';
import { takesYaml } from './validation.js';

type Json = Record<string, unknown>;

const description = `Resources tell every proxy what to do: \`Service\`, \`Route\`, \`Policy\`, \`Identity\`. Everything that changes them takes \`?dryRun=true\`,
and the tag of what it changes in \`If-Match\`. Bodies are JSON, or YAML where resources are written; every refusal is a problem document (RFC 9457).`;

const tags = [
  ['services', 'Named services that requests are sent to.'], ['routes', 'What the gateway sends where.'], ['policies', 'What happens to requests, and where.'], ['identities', 'Who may prove to be whom.'],
  ['changes', 'Many resources at once.'], ['history', 'Who changed what and when, and the way back.'], ['proxies', 'What proxies are sent, and what they make of it.'], ['registry', 'Which instances are there.'], ['certificates', 'Who workloads are; where this control plane has a certificate authority.'], ['operations', 'The process itself.'],
].map(([name, text]) => ({ name: name!, description: text! }));

/** Has the schemas that requests are checked with make the OpenAPI document. To be called before there are routes. */
export async function documentApi(api: Api, version: string): Promise<void> {
  await api.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: { title: 'Control plane', version, description, license: { name: 'Apache-2.0', identifier: 'Apache-2.0' } },
      servers: [{ url: '/' }],
      tags,
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer', description: 'A token of `access.tokens`.' },
          certificate: { type: 'mutualTLS', description: 'A certificate of the mesh, where `listen.tls.clientAuth` asks for one.' },
        },
      },
    },
    transform,
    transformObject,
  } as unknown as Parameters<typeof swagger>[1]);

  api.get('/openapi.json', { schema: { tags: ['operations'], summary: 'This document', operationId: 'openapiJson', response: { 200: z.looseObject({ openapi: z.string() }).describe('OpenAPI 3.1.') } } }, async () => api.swagger());
  api.get('/openapi.yaml', { schema: { tags: ['operations'], summary: 'This document, as YAML', operationId: 'openapiYaml', produces: ['application/yaml'], response: { 200: z.string().describe('OpenAPI 3.1.') } } }, async (_request, reply) =>
    reply.type('application/yaml').send(api.swagger({ yaml: true })),
  );
}

const transform = (({ schema, url, route }: { schema?: FastifySchema; url: string; route: { config?: FastifyContextConfig } }) => {
  const { params, querystring, headers, body, response, ...rest } = schema ?? {};
  const config = route.config ?? {};
  return {
    url,
    schema: {
      ...rest,
      ...(config.need !== undefined && { description: [rest.description, `Takes the role ${rolesFor[config.need]}.`].filter((text) => text !== undefined).join(' ') }),
      ...(params !== undefined && { params: input(params) }),
      ...(querystring !== undefined && { querystring: input(querystring) }),
      ...(headers !== undefined && { headers: withoutRest(input(headers)) }),
      ...(body !== undefined && { body: input(body), consumes: ['application/json', ...(takesYaml(config.need) ? ['application/yaml'] : [])] }),
      security: config.need === undefined ? [] : [{ token: [] }, { certificate: [] }],
      response: { ...answers(response as Record<string, unknown> | undefined, config.answerHeaders), ...refusals(schema ?? {}, config) },
    },
  };
}) as unknown as SwaggerTransform;

const rolesFor = { read: '`read` or `write`', write: '`write`', proxy: '`proxy` (its own) or `write`', any: '`read`, `write` or `proxy`' } as const;

function answers(response: Record<string, unknown> = {}, headers: Readonly<Record<string, string>> = {}): Json {
  const described = Object.fromEntries(Object.entries(headers).map(([name, text]) => [name, { type: 'string', description: text }]));
  return Object.fromEntries(Object.entries(response).map(([status, schema]) => [status, { ...output(schema), ...(Number(status) < 400 && Object.keys(headers).length > 0 && { headers: described }) }]));
}

/** What every route of its kind may be refused with, and what is its own. */
function refusals({ body, querystring, params }: FastifySchema, { need, errors = {} }: FastifyContextConfig): Json {
  const texts: Record<number, string> = {
    ...(need !== undefined && { 401: 'It is not known who is calling.', 403: 'The caller’s role does not allow it.' }),
    ...(body !== undefined && (takesYaml(need) ? { 400: 'The body is not valid JSON or YAML.', 413: 'The body is larger than 4 MiB, or 256 KiB of YAML.', 415: 'The body is neither JSON nor YAML.' } : { 400: 'The body is not valid JSON.', 413: 'The body is larger than 4 MiB.', 415: 'The body is not JSON.' })),
    ...((body ?? querystring ?? params) !== undefined && { 422: 'Something is wrong with the request; `problems` says what, all of it, and where.' }),
    ...errors,
  };
  const answer = (text: string): Json => ({ description: text, content: { 'application/problem+json': { schema: output(problemDocument) } } });
  return { ...Object.fromEntries(Object.entries(texts).map(([status, text]) => [status, answer(text)])), default: answer('Anything else that went wrong.') };
}

function input(schema: unknown): Json {
  return jsonSchema(schema, 'input');
}

function output(schema: unknown): Json {
  return jsonSchema(schema, 'output');
}

function jsonSchema(schema: unknown, io: 'input' | 'output'): Json {
  if (!(schema instanceof z.ZodType)) return inEachForm(schema as Json, io);
  const document = z.toJSONSchema(schema, { io, unrepresentable: 'any' }) as Json;
  delete document['$schema'];
  return document;
}

/** An answer that has several forms says its schema for each media type. */
function inEachForm(answer: Json, io: 'input' | 'output'): Json {
  const content = answer['content'] as Readonly<Record<string, { readonly schema: unknown }>> | undefined;
  return content === undefined ? answer : { ...answer, content: Object.fromEntries(Object.entries(content).map(([type, media]) => [type, { ...media, schema: jsonSchema(media.schema, io) }])) };
}

/** Fields beside those that are named are no parameters. */
function withoutRest(schema: Json): Json {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => key !== 'additionalProperties'));
}

/** Gives every schema that has a name a place of its own, and has the others refer to it. */
const transformObject = ((documentObject: { openapiObject: Json & { components: { schemas: Json } } }) => {
  const { openapiObject } = documentObject;
  const { schemas } = openapiObject.components;
  const visit = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(visit);
    if (typeof value !== 'object' || value === null) return value;
    const { 'x-name': name, ...rest } = value as Json;
    const visited = Object.fromEntries(Object.entries(rest).map(([key, inner]) => [key, visit(inner)]));
    if (typeof name !== 'string') return visited;
    schemas[name] ??= visited;
    return { $ref: `#/components/schemas/${name}` };
  };
  return { ...openapiObject, paths: visit(openapiObject['paths']) };
}) as unknown as SwaggerTransformObject;
