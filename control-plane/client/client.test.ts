import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { TestControlPlane } from '../../tests/support/control-plane.js';
import { portIn, TestProcess } from '../../tests/support/process.js';

const main = fileURLToPath(new URL('../../scenarios/main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'control-plane-client-test-'));
after(() => rmSync(directory, { recursive: true, force: true }));

interface Run {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(args: readonly string[], { stdin = '', environment = {} }: { stdin?: string; environment?: Record<string, string> } = {}): Promise<Run> {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['pipe', 'pipe', 'pipe'], env: { PATH: process.env['PATH'] ?? '', NO_COLOR: '1', ...environment } });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
  child.stdin.end(stdin);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, stdout, stderr };
}

function file(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

const shop = `kind: Service
name: orders
endpoints: ["127.0.0.1:9000"]
---
kind: Route
name: all
service: orders
---
kind: Policy
name: quota
placement: ambassador
target: { services: [orders] }
spec: { rateLimit: { max: 10 } }
`;

describe('the command line of the control plane', () => {
  let plane: TestControlPlane;
  const lab = (args: readonly string[], options: Parameters<typeof run>[1] = {}): Promise<Run> => run(args, { ...options, environment: { CONTROL_PLANE_URL: plane.url, ...options.environment } });
  before(async () => {
    plane = await TestControlPlane.start();
  });
  after(() => plane.stop());

  test('applies, shows, compares, deletes, and goes back', async () => {
    const shopFile = file('shop.yaml', shop);
    const dry = await lab(['apply', shopFile, '--dry-run']);
    assert.deepEqual([dry.code, dry.stdout], [0, 'Service/orders created (dry run)\nRoute/all created (dry run)\nPolicy/quota created (dry run)\n']);
    assert.equal((await lab(['get'])).stdout.trim(), 'KIND  NAME  WHAT', 'a dry run changes nothing');

    const applied = await lab(['apply', shopFile]);
    assert.deepEqual([applied.code, applied.stdout], [0, 'Service/orders created\nRoute/all created\nPolicy/quota created\nversion 1\n']);
    assert.equal((await lab(['apply', shopFile])).stdout, 'Service/orders unchanged\nRoute/all unchanged\nPolicy/quota unchanged\nversion 1\n');
    assert.deepEqual(await lab(['diff', shopFile]), { code: 0, stdout: '', stderr: '' });

    const moved = file('moved.yaml', shop.replace('placement: ambassador', 'placement: sidecar'));
    const difference = await lab(['diff', moved]);
    assert.equal(difference.code, 1);
    assert.equal(difference.stdout, '--- live/Policy/quota\n+++ new/Policy/quota\n@@ -1,6 +1,6 @@\n kind: Policy\n name: quota\n-placement: ambassador\n+placement: sidecar\n spec:\n   rateLimit:\n     max: 10\n');
    assert.equal((await lab(['apply', moved])).code, 0);

    const history = await lab(['history']);
    assert.match(history.stdout, /^VERSION\s+WHEN\s+WHO\s+WHAT\s+RESOURCES\n2\s+\S+Z\s+anonymous\s+apply\s+Policy\/quota updated\n1\s+\S+Z\s+anonymous\s+apply\s+Service\/orders created, /);
    assert.match((await lab(['history', 'route', 'all', '-o', 'json'])).stdout, /"version": 1/);

    assert.equal((await lab(['rollback', '--dry-run'])).stdout, 'Policy/quota updated (dry run)\n');
    assert.equal((await lab(['rollback'])).stdout, 'Policy/quota updated\nversion 3\n');
    assert.equal((await lab(['diff', shopFile])).code, 0, 'it is as it was at first');
    assert.match((await lab(['rollback', '99'])).stderr, /refused with 404: History does not have that version/);

    const refused = await lab(['delete', 'service', 'orders']);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, /Route\/all\.service: there is no service "orders"/);
    assert.equal((await lab(['delete', 'policies', 'quota'])).stdout, 'Policy/quota deleted\nversion 4\n');
    assert.match((await lab(['delete', 'policies', 'quota'])).stderr, /There is no Policy of that name/);
  });

  test('what it prints as YAML or JSON it takes again, also from stdin, and prunes what is not named', async () => {
    await lab(['apply', file('again.yaml', shop), '--prune']);
    const yaml = await lab(['get', '-o', 'yaml']);
    assert.deepEqual((parseAllDocuments(yaml.stdout) as { toJS(): { kind: string } }[]).map((document) => document.toJS().kind).sort(), ['Policy', 'Route', 'Service']);
    assert.match((await lab(['apply', '-'], { stdin: yaml.stdout })).stdout, /Service\/orders unchanged[^]*Policy\/quota unchanged/);
    const json = await lab(['get', 'services', '-o', 'json']);
    assert.match((await lab(['apply', '-'], { stdin: json.stdout })).stdout, /^Service\/orders unchanged\nversion/);
    assert.deepEqual(JSON.parse((await lab(['get', 'Service', 'orders', '-o', 'json'])).stdout), { kind: 'Service', name: 'orders', endpoints: ['127.0.0.1:9000'] });
    const pruned = await lab(['diff', '-', '--prune'], { stdin: json.stdout });
    assert.equal(pruned.code, 1);
    assert.match(pruned.stdout, /--- live\/Route\/all\n\+\+\+ \/dev\/null\n/);
    assert.match((await lab(['apply', '-', '--prune'], { stdin: json.stdout })).stdout, /Policy\/quota deleted[^]*Service\/orders unchanged/);
  });

  test('names what is wrong with file, line and column, all of it, and changes nothing', async () => {
    const before = (await lab(['get', '-o', 'json'])).stdout;
    const wrong = file('wrong.yaml', `kind: Service\nname: orders\n---\nkind: Policy\nname: quota\nplacement: everywhere\ntarget:\n  services: [orders]\nspec:\n  rateLimit:\n    max: -1\n---\nkind: Route\nname: lost\nservice: orders\nsubset: 7\n`);
    const applied = await lab(['apply', wrong]);
    assert.equal(applied.code, 1);
    const lines = applied.stderr.trim().split('\n');
    assert.equal(lines.length, 3, applied.stderr);
    assert.ok(lines[0]!.startsWith(`${wrong}:6:1: placement: `), lines[0]);
    assert.ok(lines[1]!.startsWith(`${wrong}:11:5: spec.rateLimit.max: `), lines[1]);
    assert.ok(lines[2]!.startsWith(`${wrong}:16:1: subset: `), lines[2]);
    const dangling = file('dangling.yaml', `kind: Route\nname: lost\nservice: nowhere\n`);
    assert.equal((await lab(['apply', dangling])).stderr, `${dangling}:3:1: Route/lost.service: there is no service "nowhere"\n`);
    const broken = await lab(['diff', file('broken.yaml', 'kind: [Service\nname: x\n')]);
    assert.equal(broken.code, 2);
    assert.match(broken.stderr, /broken\.yaml:\d+:\d+: /);
    assert.match((await lab(['apply', join(directory, 'nowhere.yaml')])).stderr, /nowhere\.yaml: there is no such file/);
    assert.match((await lab(['apply', '-'], { stdin: '# nothing\n' })).stderr, /There is no resource in -/);
    const large = JSON.stringify(Array.from({ length: 90_000 }, (_, index) => ({ kind: 'Service', name: `s${index}`, endpoints: ['127.0.0.1:1'] })));
    assert.match((await lab(['apply', file('large.json', large)])).stderr, /larger than the 4 MiB/);
    assert.equal((await lab(['get', '-o', 'json'])).stdout, before);
  });

  test('says who to start when nobody answers, and which arguments are wrong', async () => {
    const nobody = await lab(['get'], { environment: { CONTROL_PLANE_URL: 'http://127.0.0.1:1' } });
    assert.deepEqual([nobody.code, nobody.stdout], [1, '']);
    assert.match(nobody.stderr, /No control plane answers at http:\/\/127\.0\.0\.1:1: connection refused\. Start the lab with: npm run lab -- up/);
    assert.match((await lab(['get', '--url', 'ftp://x'])).stderr, /is not an address of a control plane/);
    assert.match((await lab(['get', 'pods'])).stderr, /There is no such kind; there is Service, Route, Policy, Identity/);
    assert.match((await lab(['rollback', 'yesterday'])).stderr, /Not a version/);
    assert.match((await lab(['history', 'policy'])).stderr, /a name is missing/);
    assert.equal((await lab(['diff', 'x.yaml'], { environment: { CONTROL_PLANE_URL: 'http://127.0.0.1:1' } })).code, 2);
  });

  test('shows the token of a file, and what the role allows', async () => {
    const guarded = await TestControlPlane.start({ access: { tokens: [{ name: 'reader', role: 'read', token: 'a-token-that-reads' }] } });
    const environment = { CONTROL_PLANE_URL: guarded.url };
    assert.match((await run(['get'], { environment })).stderr, /refused with 401: A token or a certificate is required\. Name a file that holds one: --token-file/);
    const tokenFile = file('reader.token', 'a-token-that-reads\n');
    assert.equal((await run(['get', '--token-file', tokenFile], { environment })).code, 0);
    const write = await run(['apply', file('shop2.yaml', shop)], { environment: { ...environment, CONTROL_PLANE_TOKEN_FILE: tokenFile } });
    assert.equal(write.code, 1);
    assert.match(write.stderr, /refused with 403: This takes the role write; reader has read\./);
    assert.match((await run(['get', '--token-file', join(directory, 'none')], { environment })).stderr, /--token-file: .*none cannot be read \(ENOENT\)/);
    await guarded.stop();
  });

  test('status names each proxy, what it accepted, and why it rejected what it was sent', async () => {
    await lab(['apply', '-', '--prune'], { stdin: shop });
    const listen = { host: '127.0.0.1', port: 0 };
    const gateway = new TestProcess('gateway/main.js', { listen, admin: listen, controlPlane: { url: plane.url, node: 'edge-1' } });
    portIn(await gateway.logged('ready'), 'listen');
    try {
      const good = await lab(['status', '--wait']);
      assert.equal(good.code, 0, good.stdout + good.stderr);
      assert.match(good.stdout, /^PROXY\s+KIND\s+SERVICE\s+CONNECTED\s+SENT\s+ACCEPTED\s+STATE\nedge-1\s+gateway\s+-\s+yes\s+(\S+)\s+\1\s+up to date\nversion \d+, settled\n$/);
      await lab(['apply', '-'], { stdin: 'kind: Policy\nname: tokens\nplacement: ambassador\ntarget: { services: [orders] }\nspec: { jwt: { issuer: i, audience: a, jwks: /nothing/here.json } }\n' });
      const bad = await lab(['status', '--wait']);
      assert.equal(bad.code, 1);
      assert.match(bad.stdout, /edge-1\s+gateway\s+-\s+yes\s+\S+\s+\S+\s+rejected \S+: .*ENOENT/);
      assert.equal((JSON.parse((await lab(['status', '-o', 'json'])).stdout) as { proxies: unknown[] }[])[0]!.proxies.length, 1);
    } finally {
      await gateway.stop();
    }
  });
});
