import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { service, TestControlPlane } from '../../tests/support/control-plane.js';

const directory = mkdtempSync(join(tmpdir(), 'audit-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const of = { write: 'sentinel-token-of-a-writer', read: 'sentinel-token-of-a-reader', orders: 'sentinel-token-of-orders' };
const access = {
  tokens: [
    { name: 'alice', role: 'write', token: of.write },
    { name: 'bob', role: 'read', token: of.read },
    { name: 'orders', role: 'proxy', service: 'orders', token: of.orders },
  ],
};

describe('the audit log', () => {
  test('says who changed what, when and from where, and who tried and was refused', async () => {
    const file = join(directory, 'log', 'audit.jsonl');
    const plane = await TestControlPlane.start({ access, audit: { file } });
    await plane.ask('POST', '/v1/apply', [service('orders'), service('users')], { token: of.write });
    await plane.ask('PUT', '/v1/services/orders', service('orders', '127.0.0.1:1'), { token: of.write });
    await plane.ask('PUT', '/v1/services/orders', service('orders', '127.0.0.1:1'), { token: of.write });
    await plane.ask('PUT', '/v1/services/orders?dryRun=true', service('orders'), { token: of.write });
    await plane.ask('DELETE', '/v1/services/users', undefined, { token: of.read });
    await plane.ask('DELETE', '/v1/services/users', undefined, { token: 'sentinel-nobody-has-this' });
    await plane.ask('GET', '/v1/services', undefined, { token: of.orders });
    await plane.ask('PUT', '/v1/registry/users/u-1', { address: '127.0.0.1:1', ttl: '60s' }, { token: of.orders });
    await plane.ask('PUT', '/v1/services/users', { endpoints: 7 }, { token: of.write });
    await plane.ask('PUT', '/v1/services/orders', service('orders'), { token: of.write, headers: { 'if-match': '"1"' } });
    await plane.ask('DELETE', '/v1/services/users', undefined, { token: of.write });
    await plane.ask('POST', '/v1/rollback', { version: 1 }, { token: of.write });
    await plane.ask('GET', '/v1/services', undefined, { token: of.read });
    await plane.stop();
    const text = readFileSync(file, 'utf8');
    const lines = text.trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(statSync(file).mode & 0o777, 0o600);
    assert.deepEqual(
      lines.map(({ by, what, outcome, status, code, problems, version, changes }) => [by, what, outcome, status, code, problems, version, (changes as { kind: string; name: string; before: number; after: number }[] | undefined)?.map(({ kind, name, before, after: now }) => `${kind}/${name} ${before}>${now}`)]),
      [
        ['alice', 'POST /v1/apply', 'done', 200, undefined, undefined, 1, ['Service/orders 0>1', 'Service/users 0>1']],
        ['alice', 'PUT /v1/services/:name', 'done', 200, undefined, undefined, 2, ['Service/orders 1>2']],
        ['bob', 'DELETE /v1/services/:name', 'refused', 403, 'forbidden', undefined, undefined, undefined],
        ['unknown', 'DELETE /v1/services/:name', 'refused', 401, 'unauthenticated', undefined, undefined, undefined],
        ['orders', 'GET /v1/services', 'refused', 403, 'forbidden', undefined, undefined, undefined],
        ['orders', 'PUT /v1/registry/:service/:instance', 'refused', 403, 'forbidden', undefined, undefined, undefined],
        ['alice', 'PUT /v1/services/:name', 'failed', 422, 'invalid', ['endpoints'], undefined, undefined],
        ['alice', 'PUT /v1/services/:name', 'failed', 412, 'changed_meanwhile', undefined, undefined, undefined],
        ['alice', 'DELETE /v1/services/:name', 'done', 200, undefined, undefined, 3, ['Service/users 1>0']],
        ['alice', 'POST /v1/rollback', 'done', 200, undefined, undefined, 4, ['Service/orders 2>4', 'Service/users 0>4']],
      ],
    );
    for (const { at, from } of lines) assert.deepEqual([from, Number.isNaN(Date.parse(at as string))], ['127.0.0.1', false]);
    assert.deepEqual(lines[2]!['target'], { name: 'users' });
    assert.doesNotMatch(text, /sentinel/);
  });

  test('goes to the log of the process where no file is named', async () => {
    const plane = await TestControlPlane.start();
    await plane.ask('PUT', '/v1/services/a', service('a'));
    await plane.process.logged('audit');
    assert.deepEqual(plane.audited.map(({ by, what, outcome }) => [by, what, outcome]), [['anonymous', 'PUT /v1/services/:name', 'done']]);
    await plane.stop();
  });

  test('has lines of bounded size and number, whatever is sent', async () => {
    const plane = await TestControlPlane.start({ access });
    await plane.ask('POST', '/v1/apply', Array.from({ length: 3_000 }, (_, index) => service(`s-${index}`)), { token: of.write });
    await plane.ask('POST', '/v1/apply', Array.from({ length: 3_000 }, () => ({ kind: 'Service', name: '!', ['x'.repeat(1_000)]: 1 })), { token: of.write });
    await Promise.all(Array.from({ length: 300 }, () => plane.ask('GET', '/v1/services')));
    await Promise.all(Array.from({ length: 300 }, () => plane.ask('PUT', '/v1/services/orders', { endpoints: 7 }, { token: of.write })));
    await plane.stop();
    const lines = plane.process.stderr.split('\n').filter((line) => line.includes('"msg":"audit"'));
    for (const line of lines) assert.ok(line.length < 16_384, `${line.length} characters`);
    assert.equal(plane.audited[0]!.moreChanges, 2_900);
    for (const kind of ['refused', 'failed']) {
      const written = plane.audited.filter(({ outcome }) => outcome === kind).length;
      assert.ok(written >= 1 && written <= 250, `of 300 that were ${kind}, ${written} were written`);
    }
  });

  test('while its file takes nothing, nothing is changed; what was changed when it failed is taken down when it can be', async (context) => {
    const file = join(directory, 'full.jsonl');
    symlinkSync('/dev/full', file);
    const plane = await TestControlPlane.start({ access, audit: { file } });
    context.after(() => plane.stop());
    const put = (name: string): ReturnType<TestControlPlane['ask']> => plane.ask('PUT', `/v1/services/${name}`, service(name), { token: of.write });
    const writable = async (): Promise<string | undefined> => /^control_plane_audit_writable (\d)$/m.exec((await plane.ask('GET', '/metrics')).text)?.[1];
    assert.equal(await writable(), '1');
    const made = await put('first');
    assert.deepEqual([made.status, made.body.code, made.headers['retry-after']], [503, 'audit_unavailable', '5']);
    assert.match(made.text, /The change was made/);
    const refused = await put('second');
    assert.deepEqual([refused.status, refused.body.code, await writable()], [503, 'audit_unavailable', '0']);
    assert.deepEqual((await plane.ask('GET', '/v1/services', undefined, { token: of.read })).body.items.map(({ name }) => name), ['first'], 'it can be read');
    assert.equal((await plane.ask('PUT', '/v1/registry/orders/o', { address: '127.0.0.1:1', ttl: '60s' }, { token: of.orders })).status, 200, 'proxies go on');
    assert.equal(plane.process.stderr.split('the audit log cannot be written').length, 2, 'it is said once');
    rmSync(file);
    assert.equal((await put('second')).status, 200);
    assert.equal(await writable(), '1');
    const lines = readFileSync(file, 'utf8').trimEnd().split('\n').map((line) => JSON.parse(line) as { target: { name: string }; outcome: string; refusalsNotWritten?: number });
    assert.deepEqual(lines.map(({ target, outcome, refusalsNotWritten }) => [target.name, outcome, refusalsNotWritten]), [['first', 'done', undefined], ['second', 'done', 1]]);
  });

  test('a file that cannot be written is said before anything listens', async () => {
    await assert.rejects(TestControlPlane.start({ audit: { file: '/dev/null/audit.jsonl' } }), /audit\.file: \/dev\/null\/audit\.jsonl cannot be written \(E/);
  });
});

describe('secrets', () => {
  /** In every place where somebody may put one. */
  const secret = 'SENTINEL-of-a-secret-7f3a';
  const policy = (name: string, value = secret): object => ({
    kind: 'Policy', name, placement: 'sidecar', target: { services: ['orders'] },
    spec: { jwt: { issuer: 'i', audience: 'a', jwksUri: `https://issuer.example/jwks?token=${value}` }, headers: { request: { set: { authorization: `Bearer ${value}`, 'x-api-key': value } } } },
  });

  test('are in no log, no error, and in no answer to whoever may not write', async () => {
    const file = join(directory, 'secrets.jsonl');
    const plane = await TestControlPlane.start({ access, audit: { file }, dataDir: join(directory, 'data'), resources: [service('orders')], logLevel: 'trace' });
    const answers: string[] = [];
    const ask = async (method: string, path: string, body?: unknown, options: object = {}): Promise<number> => {
      const { status, text, headers } = await plane.ask(method, path, body, { token: of.write, ...options });
      answers.push(`${method} ${path.replaceAll(secret, '*')}: ${status} ${text} ${JSON.stringify(headers)}`);
      return status;
    };
    const stored = await ask('PUT', '/v1/policies/keys', policy('keys'));
    const readByWriter = await plane.ask('GET', '/v1/policies/keys', undefined, { token: of.write });
    for (const path of ['/v1/policies', '/v1/policies/keys', '/v1/policies/keys/history', '/v1/history', '/v1/history/2', '/v1/history/2?resources=true', '/v1/status']) await ask('GET', path, undefined, { token: of.read });
    // Everything that can go wrong, with a secret in it.
    await ask('PUT', '/v1/policies/keys', { ...policy('keys'), placement: secret });
    await ask('PUT', '/v1/policies/keys', policy('keys'), { headers: { 'if-match': `"${secret}"` } });
    await ask('POST', '/v1/apply', `{"kind": "${secret}`, {});
    await ask('POST', '/v1/apply', `a: [${secret}`, { headers: { 'content-type': 'application/yaml' } });
    await ask('POST', '/v1/apply', `a: &${secret} 1\na: *${secret}`, { headers: { 'content-type': 'application/yaml' } });
    await ask('POST', '/v1/apply', [{ kind: secret }]);
    await ask('GET', '/v1/services', undefined, { token: secret });
    await ask('GET', '/v1/services', undefined, { headers: { authorization: `Basic ${secret}` } });
    await ask('GET', `/v1/services/${secret}`);
    await ask('GET', `/${secret}`);
    await ask('GET', `/v1/services?token=1`, undefined, { headers: { cookie: secret } });
    await ask('POST', `/v1/proxies/orders-1/status`, { version: 'x', accepted: true, reason: secret }, { token: of.orders });
    await plane.stop();
    const { stderr, stdout } = plane.process;
    assert.equal(stored, 200);
    assert.deepEqual(readByWriter.body, policy('keys'), 'whoever may write reads what is there');
    for (const [name, text] of [['log', stderr + stdout], ['audit log', readFileSync(file, 'utf8')], ...answers.map((answer) => ['answer', answer] as const)] as const) {
      assert.ok(!text.includes(secret), `${name}: ${text.slice(Math.max(0, text.indexOf(secret) - 200), text.indexOf(secret) + 60)}`);
      for (const token of Object.values(of)) assert.ok(!text.includes(token), `${name} shows a token`);
    }
  });

  test('who has read a document without its secrets does not write it back over them', async () => {
    const plane = await TestControlPlane.start({ resources: [service('orders')] });
    const { status, body } = await plane.ask('PUT', '/v1/policies/keys', policy('keys', '[redacted]'));
    await plane.stop();
    assert.equal(status, 422);
    assert.deepEqual(body.problems.map(({ path }) => path), ['jwt.jwksUri', 'headers.request.set.authorization', 'headers.request.set.x-api-key'].map((path) => `Policy/keys.spec.${path}`));
    assert.match(body.problems[0]!.message, /\[redacted\]/);
  });
});
