import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { quota, route, service, TestControlPlane, type Answer } from '../../tests/support/control-plane.js';

/** Each test has names of its own: one control plane serves all of them. */
describe('resources one by one', () => {
  let plane: TestControlPlane;
  before(async () => {
    plane = await TestControlPlane.start();
  });
  after(() => plane.stop());
  const problemsOf = ({ body }: Answer): string[] => body.problems.map(({ path, message }) => `${path}: ${message}`);

  test('each kind is created, read, listed, replaced and deleted', async () => {
    await plane.ask('POST', '/v1/services', service('all-kinds'));
    const cases: readonly (readonly [collection: string, first: object, second: object])[] = [
      ['services', service('each'), service('each', '127.0.0.1:1')],
      ['routes', route('each', 'all-kinds'), { ...route('each', 'all-kinds'), match: { path: '/each' } }],
      ['policies', quota('each', 'all-kinds'), quota('each', 'all-kinds', 11)],
      ['identities', { kind: 'Identity', name: 'each', service: 'all-kinds' }, { kind: 'Identity', name: 'each', service: 'all-kinds', namespace: 'shop', workload: { issuer: 'https://i', subject: 's' } }],
    ];
    for (const [collection, first, second] of cases) {
      const created = await plane.ask('POST', `/v1/${collection}`, first);
      assert.deepEqual([created.status, created.headers['location'], created.headers['etag']], [201, `/v1/${collection}/each`, `"${created.body.version}"`], collection);
      assert.deepEqual((await plane.ask('GET', `/v1/${collection}/each`)).body, first, 'as it was written: no defaults filled in');
      const replaced = await plane.ask('PUT', `/v1/${collection}/each`, second);
      assert.deepEqual([replaced.status, replaced.body.changes.map(({ action }) => action)], [200, ['updated']], collection);
      const list = await plane.ask('GET', `/v1/${collection}`);
      assert.deepEqual(list.body.items.find(({ name }) => name === 'each'), second);
      assert.equal((await plane.ask('DELETE', `/v1/${collection}/each`)).status, 200, collection);
      for (const method of ['GET', 'DELETE']) assert.equal((await plane.ask(method, `/v1/${collection}/each`)).status, 404, collection);
    }
  });

  test('creating what is there already is a conflict that says what is there', async () => {
    await plane.ask('POST', '/v1/services', service('taken', '127.0.0.1:1'));
    const { status, body } = await plane.ask('POST', '/v1/services', service('taken'));
    assert.deepEqual([status, body.code, body.current.resource], [409, 'exists', service('taken', '127.0.0.1:1')]);
  });

  test('a change of what somebody else has changed since is refused with what is there', async () => {
    await plane.ask('PUT', '/v1/services/contested', service('contested'));
    const { etag } = (await plane.ask('GET', '/v1/services/contested')).headers;
    const first = await plane.ask('PUT', '/v1/services/contested', service('contested', '127.0.0.1:1'), { headers: { 'if-match': etag! } });
    assert.equal(first.status, 200);
    assert.notEqual(first.headers['etag'], etag);
    for (const method of ['PUT', 'DELETE']) {
      const late = await plane.ask(method, '/v1/services/contested', method === 'PUT' ? service('contested', '127.0.0.1:2') : undefined, { headers: { 'if-match': etag! } });
      assert.deepEqual([late.status, late.body.current.resource, late.headers['etag']], [412, service('contested', '127.0.0.1:1'), first.headers['etag']], method);
    }
    // What others change raises the version of the whole, and no tag but its own.
    await plane.ask('PUT', '/v1/services/another', service('another'));
    assert.equal((await plane.ask('DELETE', '/v1/services/contested', undefined, { headers: { 'if-match': `"7777", ${first.headers['etag']!}` } })).status, 200);
  });

  test('of many who change the same version at once one gets it', async () => {
    await plane.ask('PUT', '/v1/services/raced', service('raced'));
    const { etag } = (await plane.ask('GET', '/v1/services/raced')).headers;
    const statuses = await Promise.all(Array.from({ length: 12 }, async (_, index) => (await plane.ask('PUT', '/v1/services/raced', service('raced', `127.0.0.1:${index + 1}`), { headers: { 'if-match': etag! } })).status));
    assert.deepEqual(statuses.sort(), [200, ...Array.from({ length: 11 }, () => 412)]);
  });

  test('conditions that can be met, and that cannot', async () => {
    await plane.ask('PUT', '/v1/services/there', service('there'));
    const cases: readonly (readonly [name: string, headers: Record<string, string>, status: number])[] = [
      ['there', { 'if-none-match': '*' }, 412], ['not-there', { 'if-none-match': '*' }, 200],
      ['there', { 'if-match': '*' }, 200], ['nowhere', { 'if-match': '*' }, 412], ['nowhere', { 'if-match': '"1"' }, 412],
      ['there', { 'if-match': 'W/"1"' }, 412], ['there', { 'if-match': 'nonsense' }, 412], ['there', { 'if-none-match': '"1"' }, 422],
    ];
    for (const [name, headers, status] of cases) assert.equal((await plane.ask('PUT', `/v1/services/${name}`, service(name), { headers })).status, status, `${name} ${JSON.stringify(headers)}`);
  });

  test('what the caller has already is not sent again', async () => {
    await plane.ask('PUT', '/v1/services/known', service('known'));
    for (const path of ['/v1/services/known', '/v1/services', '/v1/policies']) {
      const { etag } = (await plane.ask('GET', path)).headers;
      const again = await plane.ask('GET', path, undefined, { headers: { 'if-none-match': `"999999", W/${etag!}` } });
      assert.deepEqual([again.status, again.text, again.headers['etag']], [304, '', etag], path);
      assert.equal((await plane.ask('GET', path, undefined, { headers: { 'if-none-match': '"999999"' } })).status, 200, path);
    }
  });

  test('a dry run of each change says what it would do, is refused as it would be, and does nothing', async () => {
    await plane.ask('POST', '/v1/apply', [service('dry', '127.0.0.1:1'), route('dry', 'dry')]);
    const { version } = (await plane.ask('GET', '/v1/services')).body;
    const cases: readonly (readonly [method: string, path: string, body: unknown, actions: string[]])[] = [
      ['POST', '/v1/services', service('dry-new'), ['dry-new created']],
      ['PUT', '/v1/services/dry', service('dry', '127.0.0.1:2'), ['dry updated']],
      ['PUT', '/v1/services/dry', service('dry', '127.0.0.1:1'), []],
      ['DELETE', '/v1/routes/dry', undefined, ['dry deleted']],
      ['POST', '/v1/apply', [service('dry'), service('dry-new')], ['dry updated', 'dry-new created']],
    ];
    for (const [method, path, body, actions] of cases) {
      const answer = await plane.ask(method, `${path}?dryRun=true`, body);
      assert.equal(answer.status, 200, path);
      assert.deepEqual([answer.body.version, answer.body.dryRun], [version, true]);
      assert.deepEqual(answer.body.changes.map(({ name, action }) => `${name} ${action}`).sort(), actions, `${method} ${path}`);
    }
    const { before: was, after: is } = (await plane.ask('PUT', '/v1/services/dry?dryRun=true', service('dry'))).body.changes[0]!;
    assert.deepEqual([was, is], [service('dry', '127.0.0.1:1'), service('dry')]);
    assert.equal((await plane.ask('POST', '/v1/services?dryRun=true', service('dry'))).status, 409);
    assert.equal((await plane.ask('DELETE', '/v1/services/dry?dryRun=true')).status, 422);
    assert.equal((await plane.ask('PUT', '/v1/services/dry?dryRun=true', service('dry'), { headers: { 'if-match': '"1"' } })).status, 412);
    assert.equal((await plane.ask('GET', '/v1/services')).body.version, version);
  });

  test('everything that is wrong is named with its path', async () => {
    const wrong = await plane.ask('PUT', '/v1/policies/wrong', { placement: 'everywhere', target: { services: [] }, spec: { rateLimit: { max: -1 }, nothing: 1 } });
    assert.equal(wrong.status, 422);
    assert.deepEqual(wrong.body.problems.map(({ path }) => path).sort(), ['placement', 'spec.nothing', 'spec.rateLimit.max', 'target.services']);
    assert.deepEqual(problemsOf(await plane.ask('POST', '/v1/routes', route('dangling', 'nowhere'))), ['Route/dangling.service: there is no service "nowhere"']);
    assert.match(problemsOf(await plane.ask('PUT', '/v1/services/one', service('other'))).join(), /name: .*one/);
    assert.match(problemsOf(await plane.ask('PUT', '/v1/services/one', route('one', 'x'))).join(), /kind/);
    assert.match(problemsOf(await plane.ask('POST', '/v1/services', { kind: 'Service' })).join(), /name: is missing/);
    assert.match(problemsOf(await plane.ask('GET', '/v1/services?colour=red')).join(), /colour: unknown key/);
    assert.match(problemsOf(await plane.ask('PUT', '/v1/services/one?dryRun=perhaps', service('one'))).join(), /dryRun/);
  });

  test('an identity names a service that is there, or the gateway, and a workload proves one name', async () => {
    await plane.ask('PUT', '/v1/services/named', service('named'));
    const identity = (name: string, more: object): object => ({ kind: 'Identity', name, service: 'named', ...more });
    const workload = { issuer: 'https://issuer', subject: 'system:serviceaccount:shop:named' };
    assert.equal((await plane.ask('POST', '/v1/apply', [identity('one', { workload }), identity('edge', { service: 'gateway' })])).status, 200);
    assert.deepEqual(problemsOf(await plane.ask('POST', '/v1/identities', identity('lost', { service: 'nowhere' }))), ['Identity/lost.service: there is no service "nowhere"']);
    const twice = problemsOf(await plane.ask('POST', '/v1/identities', identity('two', { workload })));
    assert.equal(twice.length, 1);
    assert.match(twice[0]!, /^Identity\/(one|two)\.workload: Identity\/(one|two) is proven by the same/);
    assert.equal((await plane.ask('POST', '/v1/identities', identity('two', { workload: { ...workload, audience: 'another' } }))).status, 201);
    assert.match(problemsOf(await plane.ask('DELETE', '/v1/services/named')).join(), /Identity\/one\.service/);
  });

  test('the tag of an answer is that of what its request wrote, also where others write at the same time', async (context) => {
    // On disk, what comes meanwhile is written together.
    const dataDir = mkdtempSync(join(tmpdir(), 'resources-test-'));
    context.after(() => rmSync(dataDir, { recursive: true, force: true }));
    const kept = await TestControlPlane.start({ dataDir });
    context.after(() => kept.stop());
    for (let round = 0; round < 10; round++) {
      const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => kept.ask('PUT', '/v1/services/contended', service('contended', `127.0.0.1:${round * 8 + index + 1}`))));
      for (const { headers, body } of answers) assert.equal(headers['etag'], `"${body.version}"`);
    }
    const again = await kept.ask('PUT', '/v1/services/contended', (await kept.ask('GET', '/v1/services/contended')).body);
    assert.deepEqual([again.body.changes, again.headers['etag']], [[], (await kept.ask('GET', '/v1/services/contended')).headers['etag']]);
  });

  test('bodies may be YAML, and several documents to apply', async () => {
    const yaml = { 'content-type': 'application/yaml' };
    assert.equal((await plane.ask('POST', '/v1/apply', 'kind: Service\nname: yaml-1\n---\n# nothing\n---\nkind: Service\nname: yaml-2\n', { headers: yaml })).body.changes.length, 2);
    assert.equal((await plane.ask('PUT', '/v1/services/yaml-1', 'endpoints: ["127.0.0.1:1"]\n', { headers: yaml })).status, 200);
    const wrong: readonly (readonly [type: string, raw: string, status: number])[] = [
      ['application/yaml', 'a: [', 400], ['application/yaml', 'a: &a [1]\nb: *b\n', 400], ['application/yaml', 'kind: Service\nname: a\nname: b\n', 400], ['application/yaml', `[${','.repeat(100_000)}]`, 400], ['application/yaml', ' '.repeat(262_145), 413], ['application/json', '{', 400], ['application/json', '', 400], ['text/plain', 'hello', 415], ['application/xml', '<a/>', 415],
      ['application/json', '{"__proto__":{"a":1}}', 400],
    ];
    for (const [type, raw, status] of wrong) {
      const answer = await plane.ask('POST', '/v1/apply', raw, { headers: { 'content-type': type } });
      assert.deepEqual([answer.status, answer.headers['content-type']?.split(';')[0], answer.body.status], [status, 'application/problem+json', status], `${type} ${raw.slice(0, 20)}`);
    }
  });

  test('YAML is read in time that grows with its length alone', async () => {
    const keys = `{${Array.from({ length: 30_000 }, (_, index) => index.toString(36)).join()}}`;
    const startedAt = performance.now();
    assert.equal((await plane.ask('POST', '/v1/apply', keys, { headers: { 'content-type': 'application/yaml' } })).status, 422);
    assert.ok(performance.now() - startedAt < 8_000, 'it compares no key with all others, which would take twice as long');
  });

  test('YAML is taken where resources are written, and nowhere else', async (context) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'resources-test-'));
    context.after(() => rmSync(dataDir, { recursive: true, force: true }));
    const authority = await TestControlPlane.start({ dataDir, ca: { trustDomain: 'shop.internal' } });
    context.after(() => authority.stop());
    for (const [method, path, status] of [['POST', '/v1/certificates', 415], ['PUT', '/v1/registry/orders/o', 415], ['POST', '/v1/proxies/o/status', 415], ['POST', '/v1/join-tokens', 201]] as const) {
      const answer = await authority.ask(method, path, 'service: orders', { headers: { 'content-type': 'application/yaml' } });
      assert.equal(answer.status, status, `${path}: ${answer.text}`);
    }
  });

  test('a body that says it is too large is refused before it is sent', async () => {
    const socket = connect(plane.port, '127.0.0.1');
    socket.setEncoding('utf8').write('POST /v1/apply HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 4194305\r\n\r\n');
    let answer = '';
    for await (const text of socket) {
      answer += text as string;
      if (answer.includes('"code":"too_large"')) break;
    }
    assert.match(answer, /^HTTP\/1\.1 413 [^]*application\/problem\+json/);
  });

  test('applying many happens as a whole or not at all, and prune deletes what is not named', async () => {
    const alone = await TestControlPlane.start();
    await alone.ask('POST', '/v1/apply', [service('a'), service('b'), route('to-a', 'a')]);
    assert.equal((await alone.ask('POST', '/v1/apply', [service('c'), route('to-d', 'd')])).status, 422);
    assert.equal((await alone.ask('GET', '/v1/services/c')).status, 404);
    const twice = await alone.ask('POST', '/v1/apply', [service('c'), service('c', '127.0.0.1:1')]);
    assert.deepEqual([twice.status, twice.body.problems], [422, [{ path: '[1].name', message: 'Service/c is [0] already' }]]);
    const dry = await alone.ask('POST', '/v1/apply?prune=true&dryRun=true', [service('b')]);
    assert.deepEqual(dry.body.changes.map(({ name, action }) => `${name} ${action}`).sort(), ['a deleted', 'to-a deleted']);
    assert.equal((await alone.ask('POST', '/v1/apply?prune=true', [])).status, 422, 'not everything by mistake');
    const stale = await alone.ask('POST', '/v1/apply?prune=true', [service('b')], { headers: { 'if-match': '"77"' } });
    assert.deepEqual([stale.status, stale.body.current], [412, { version: 1 }]);
    assert.equal((await alone.ask('POST', '/v1/apply?prune=true', [service('b')], { headers: { 'if-match': '"1"' } })).status, 200);
    assert.deepEqual((await alone.ask('GET', '/v1/services')).body.items, [service('b')]);
    assert.deepEqual((await alone.ask('GET', '/v1/routes')).body.items, []);
    await alone.stop();
  });

  test('a web page under another name gets nothing from a control plane without access', async () => {
    assert.equal((await plane.ask('GET', '/v1/services', undefined, { headers: { host: 'evil.example.org' } })).status, 421);
    assert.equal((await plane.ask('GET', '/v1/services', undefined, { headers: { host: 'localhost:7000' } })).status, 200);
  });

  test('a page of another site gets nothing, whatever the browser lets it send', async () => {
    const from = async (headers: Readonly<Record<string, string>>): Promise<number> => (await plane.ask('POST', '/v1/apply?dryRun=true', [], { headers })).status;
    for (const headers of [{ origin: 'https://evil.example' }, { origin: 'null' }, { origin: plane.url.replace('http:', 'https:') }, { 'sec-fetch-site': 'cross-site' }, { 'sec-fetch-site': 'same-site' }]) {
      assert.equal(await from(headers), 403, JSON.stringify(headers));
    }
    assert.deepEqual([await from({}), await from({ origin: plane.url, 'sec-fetch-site': 'same-origin' })], [200, 200]);
  });

  test('what is not there is not found, with a problem document', async () => {
    for (const path of ['/', '/v1/nothing', '/v1/services/a/b/c']) {
      const { status, headers, body } = await plane.ask('GET', path);
      assert.deepEqual([status, headers['content-type']?.split(';')[0], body.code], [404, 'application/problem+json', 'not_found'], path);
    }
  });
});
