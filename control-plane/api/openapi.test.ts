import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parse } from 'yaml';
import { TestControlPlane } from '../../tests/support/control-plane.js';

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
  let plane: TestControlPlane;
  let document: { readonly openapi: string; readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>; readonly components: { readonly schemas: Json; readonly securitySchemes: Json }; readonly tags: readonly { readonly name: string }[] };
  let operations: (readonly [name: string, operation: Operation])[];
  before(async () => {
    plane = await TestControlPlane.start();
    document = (await plane.ask('GET', '/openapi.json')).body as unknown as typeof document;
    operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const));
  });
  after(() => plane.stop());

  test('is of version 3.1, and the same as YAML', async () => {
    assert.match(document.openapi, /^3\.1\./);
    assert.deepEqual(parse((await plane.ask('GET', '/openapi.yaml')).text), document);
  });

  test('has every route that the source has', () => {
    const folder = fileURLToPath(new URL('../../../control-plane/api/', import.meta.url));
    const written = readdirSync(folder)
      .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
      .flatMap((file) => [...readFileSync(folder + file, 'utf8').matchAll(/\bapi\.(get|post|put|delete|patch)\((['`])(.+?)\2/g)].map(([, method, , path]) => [method!.toUpperCase(), path!] as const));
    assert.ok(written.length > 15, `${written.length} routes were found`);
    const collections = ['services', 'routes', 'policies', 'identities'];
    const expected = written.flatMap(([method, path]) => (path.includes('${collection}') ? collections.map((name) => `${method} ${path.replace('${collection}', name)}`) : [`${method} ${path}`]));
    assert.deepEqual(operations.map(([name]) => name).sort(), expected.map((name) => name.replace(/:(\w+)/g, '{$1}')).sort());
  });

  test('says of each what it is, what it takes, what it answers and who may ask', () => {
    const ids = new Set<string>();
    const tags = new Set(document.tags.map(({ name }) => name));
    const open = new Set(['/healthz', '/readyz', '/metrics', '/openapi.json', '/openapi.yaml'].map((path) => `GET ${path}`));
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
