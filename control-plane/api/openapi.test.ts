import { Validator } from '@seriousme/openapi-schema-validator';
import { Ajv2020 } from 'ajv/dist/2020.js';
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { createSigningRequest } from '../../shared/identity/signing-request.js';
import { TestControlPlane, type AnswerBody } from '../../tests/support/control-plane.js';

type Json = Record<string, unknown>;
interface Operation {
  readonly summary?: string;
  readonly operationId?: string;
  readonly tags?: readonly string[];
  readonly security?: readonly object[];
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly description?: string }[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: Json }>> };
  readonly responses: Readonly<Record<string, { readonly description: string; readonly content?: Readonly<Record<string, { readonly schema: Json }>>; readonly headers?: Json }>>;
}

describe('the OpenAPI document', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'openapi-test-'));
  let plane: TestControlPlane;
  let document: { readonly openapi: string; readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>; readonly components: { readonly schemas: Json; readonly securitySchemes: Json }; readonly tags: readonly { readonly name: string }[] };
  let operations: (readonly [name: string, operation: Operation])[];
  before(async () => {
    plane = await TestControlPlane.start({ dataDir, ca: { trustDomain: 'shop.internal' } });
    document = (await plane.ask('GET', '/openapi.json')).body as unknown as typeof document;
    operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const));
  });
  after(async () => {
    await plane.stop();
    rmSync(dataDir, { recursive: true });
  });

  test('is of version 3.1, and the same as YAML', async () => {
    assert.match(document.openapi, /^3\.1\./);
    assert.deepEqual(parse((await plane.ask('GET', '/openapi.yaml')).text), document);
  });

  test('is valid by the OpenAPI 3.1 meta-schema, and each schema in it by that of JSON Schema', async () => {
    const { valid, errors } = await new Validator().validate(structuredClone(document));
    assert.ok(valid, JSON.stringify(errors, undefined, 2));
    // The meta-schema of OpenAPI asks of schemas no more than that they are objects.
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    const visit = (value: unknown, at: string): number => {
      if (typeof value !== 'object' || value === null) return 0;
      return Object.entries(value as Json).reduce((count, [key, inner]) => {
        if (key !== 'schema') return count + visit(inner, `${at}/${key}`);
        assert.ok(ajv.validateSchema(inner as Json) === true, `${at}/schema: ${ajv.errorsText()}`);
        return count + 1;
      }, 0);
    };
    const found = visit(document.paths, '/paths');
    assert.ok(found > 100, `${found} schemas were found in paths`);
    for (const [name, schema] of Object.entries(document.components.schemas)) assert.ok(ajv.validateSchema(schema as Json) === true, `${name}: ${ajv.errorsText()}`);
  });

  test('has every route that the source has', () => {
    const written = ['api', 'ca']
      .map((folder) => fileURLToPath(new URL(`../../../control-plane/${folder}/`, import.meta.url)))
      .flatMap((folder) => readdirSync(folder).map((file) => folder + file))
      .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
      .flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/\bapi\.(get|post|put|delete|patch)\((['`])(.+?)\2/g)].map(([, method, , path]) => [method!.toUpperCase(), path!] as const));
    assert.ok(written.length > 15, `${written.length} routes were found`);
    const collections = ['services', 'routes', 'policies', 'identities'];
    const expected = written.flatMap(([method, path]) => (path.includes('${collection}') ? collections.map((name) => `${method} ${path.replace('${collection}', name)}`) : [`${method} ${path}`]));
    assert.deepEqual(operations.map(([name]) => name).sort(), expected.map((name) => name.replace(/:(\w+)/g, '{$1}')).sort());
  });

  test('says of each what it is, what it takes, what it answers and who may ask', () => {
    const ids = new Set<string>();
    const tags = new Set(document.tags.map(({ name }) => name));
    const open = new Set(['GET /healthz', 'GET /readyz', 'GET /metrics', 'GET /openapi.json', 'GET /openapi.yaml', 'GET /v1/trust-bundle', 'POST /v1/certificates']);
    for (const [name, operation] of operations) {
      assert.ok((operation.summary ?? '').length > 5, `${name} has a summary`);
      assert.ok(operation.operationId !== undefined && !ids.has(operation.operationId), `${name} has an id of its own`);
      ids.add(operation.operationId);
      assert.ok(operation.tags!.length > 0 && operation.tags!.every((tag) => tags.has(tag)), `${name} has known tags`);
      assert.equal(operation.security!.length, open.has(name) ? 0 : 2, `${name} says who may ask`);
      for (const scheme of operation.security!.flatMap((each) => Object.keys(each))) assert.ok(scheme in document.components.securitySchemes, `${name}: ${scheme}`);
      const inPath = [...name.matchAll(/\{(\w+)\}/g)].map(([, each]) => each!);
      assert.deepEqual((operation.parameters ?? []).filter((each) => each.in === 'path').map((each) => each.name).sort(), inPath.sort(), `${name} describes its path`);
      for (const { name: parameter, in: where, description = '' } of operation.parameters ?? []) if (where !== 'path') assert.ok(description.length > 5, `${name} describes ${parameter}`);
      if (/^(?:POST|PUT) /.test(name)) assert.ok(operation.requestBody!.content['application/json']!.schema, `${name} has a body`);
      const successes = Object.keys(operation.responses).filter((status) => status.startsWith('2'));
      assert.ok(successes.length > 0, `${name} has an answer`);
      for (const [status, { description, content }] of Object.entries(operation.responses)) {
        assert.ok(description.length > 2, `${name} describes ${status}`);
        if (status === '204' || status === '304') assert.equal(content, undefined, `${name} ${status} has no content`);
      }
      if (!open.has(name)) for (const status of ['401', '403']) assert.ok(operation.responses[status]!.content!['application/problem+json'], `${name} may be refused with ${status}`);
    }
  });

  test('says of certificates what the authority answers', async () => {
    const ajv = new Ajv2020({ strict: false, validateFormats: false });
    ajv.addSchema({ $id: 'document', ...document });
    const answers = async (method: 'GET' | 'POST', path: string, status: number, body?: object): Promise<AnswerBody & Json> => {
      const answer = await plane.ask(method, path, body);
      assert.equal(answer.status, status, `${path}: ${answer.text}`);
      const { properties, $ref } = operations.find(([name]) => name === `${method} ${path}`)![1].responses[status]!.content!['application/json']!.schema as { properties?: Json; $ref?: string };
      assert.equal(properties, undefined, 'it has a name');
      const schema = document.components.schemas[$ref!.split('/').at(-1)!] as { properties: Json };
      assert.ok(ajv.validate(`document${$ref!}`, answer.body), `${path}: ${ajv.errorsText()}`);
      assert.deepEqual(Object.keys(answer.body).filter((key) => !(key in schema.properties)), [], `${path} answers with nothing beside`);
      return answer.body as unknown as AnswerBody & Json;
    };
    const { token } = await answers('POST', '/v1/join-tokens', 201, { service: 'orders', ttl: '1m' });
    const { csr } = await createSigningRequest(undefined);
    await answers('POST', '/v1/certificates', 201, { csr, proof: { kind: 'joinToken', token } });
    await answers('GET', '/v1/trust-bundle', 200);
    assert.match((await plane.ask('GET', '/v1/trust-bundle', undefined, { headers: { accept: 'application/x-pem-file' } })).text, /^-----BEGIN CERTIFICATE/);
    await answers('GET', '/v1/ca', 200);
    assert.equal((await plane.ask('POST', '/v1/ca/rotate')).status, 202, 'a request without a body means all defaults');
    const refused = await plane.ask('POST', '/v1/certificates', { csr: 'x'.repeat(70_000), proof: {} });
    assert.deepEqual([refused.status, refused.body.code], [413, 'too_large']);
    assert.match(refused.text, /64 KiB/);
  });

  test('names optimistic concurrency and dry runs where they are', () => {
    const of = (name: string): string[] => (operations.find(([each]) => each === name)![1].parameters ?? []).map((parameter) => parameter.name.toLowerCase()).sort();
    assert.deepEqual(of('PUT /v1/services/{name}'), ['dryrun', 'if-match', 'if-none-match', 'name']);
    assert.deepEqual(of('POST /v1/apply'), ['dryrun', 'if-match', 'prune']);
    assert.deepEqual(of('GET /v1/watch'), ['last-event-id', 'since']);
    const { responses } = operations.find(([each]) => each === 'PUT /v1/policies/{name}')![1];
    assert.ok('412' in responses && '422' in responses && 'ETag' in responses['200']!.headers!);
  });

  test('refers to nothing that is not there, and says what resources are', () => {
    const visit = (value: unknown, at: string): void => {
      if (typeof value !== 'object' || value === null) return;
      for (const [key, inner] of Object.entries(value)) {
        if (key === '$ref' && typeof inner === 'string') {
          const found = inner.split('/').slice(1).reduce<unknown>((node, part) => (node as Json | undefined)?.[part.replace(/~1/g, '/').replace(/~0/g, '~')], document);
          assert.ok(inner.startsWith('#/') && found !== undefined, `${at}: ${inner}`);
        }
        assert.notEqual(key, 'x-name', at);
        visit(inner, `${at}/${key}`);
      }
    };
    visit(document, '');
    const { properties } = document.components.schemas['Policy'] as { properties: Json };
    assert.deepEqual(Object.keys(properties).sort(), ['kind', 'name', 'placement', 'spec', 'target']);
    assert.match(JSON.stringify(properties), /rateLimit/);
  });
});
