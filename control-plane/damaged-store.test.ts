import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { TestControlPlane } from '../tests/support/control-plane.js';
import { TestProcess } from '../tests/support/process.js';

const root = mkdtempSync(join(tmpdir(), 'damaged-store-test-'));
after(() => rmSync(root, { recursive: true, force: true }));

describe('a control plane and its file of resources', () => {
  test('resources, versions and history outlive a restart', async () => {
    const config = { dataDir: join(root, 'kept'), resources: [{ kind: 'Service', name: 'orders' }] };
    const first = await TestControlPlane.start(config);
    await first.ask('PUT', '/v1/services/users', {});
    const before = await first.ask('GET', '/v1/history');
    await first.stop();
    const second = await TestControlPlane.start(config);
    assert.equal((await second.ask('GET', '/v1/history')).text, before.text);
    assert.match(before.text, /"by":"configuration","action":"seed"/);
    assert.match((await second.ask('GET', '/v1/services')).text, /"version":2/);
    await second.stop();
  });

  test('when it is damaged the process says so with its path, exits 64, listens nowhere, and leaves it as it is', async () => {
    const dataDir = join(root, 'damaged');
    const plane = await TestControlPlane.start({ dataDir, resources: [{ kind: 'Service', name: 'orders' }] });
    await plane.stop();
    const file = join(dataDir, 'resources.json');
    const damaged = readFileSync(file, 'utf8').replace('orders', 'ordert');
    writeFileSync(file, damaged);
    const { code, stderr } = await new TestProcess('control-plane/main.js', { listen: { port: 0 }, dataDir }).exited;
    assert.equal(code, 64, stderr);
    assert.ok(stderr.includes(`${file}: the file of resources is damaged: its contents are not those of its checksum. Nothing was changed; put a backup in its place`), stderr);
    assert.doesNotMatch(stderr, /"msg":"ready"/);
    assert.equal(readFileSync(file, 'utf8'), damaged);
  });
});
