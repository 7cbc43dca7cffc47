import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { RawClient } from '../../tests/support/raw-client.js';
import { freePorts } from '../lab/free-port.js';
import type { StatsDocument } from './stats.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const hasPython = spawnSync('python3', ['--version']).status === 0;

interface Running {
  readonly app: string;
  readonly control: string;
  readonly exited: Promise<number | null>;
  readonly kill: () => void;
}

async function startInventory(command: string, args: readonly string[]): Promise<Running> {
  const [port, controlPort] = await freePorts(2);
  const child = spawn(command, args, { stdio: 'inherit', env: { ...process.env, HOST: '127.0.0.1', PORT: String(port), CONTROL_PORT: String(controlPort), INSTANCE: 'one' } });
  const exited = once(child, 'exit').then(([code]) => code as number | null);
  const control = `http://127.0.0.1:${controlPort}`;
  for (;;) {
    const answer = await fetch(`${control}/healthz`).catch(() => undefined);
    if (answer?.ok === true) break;
    if (child.exitCode !== null) throw new Error('it ended');
  }
  return { app: `http://127.0.0.1:${port}`, control, exited, kill: () => child.kill('SIGKILL') };
}

const languages: readonly (readonly [name: string, command: string, args: readonly string[]])[] = [
  ['Node.js', process.execPath, [`${root}dist/scenarios/services/main.js`, 'inventory']],
  ...(hasPython ? [['Python', 'python3', [`${root}scenarios/services/inventory/inventory.py`]] as const] : []),
];

// The same cases for both: the twin must behave as the original does.
for (const [language, command, args] of languages) {
  describe(`the inventory in ${language}`, () => {
    let service: Running;
    const put = (fault: unknown): Promise<Response> => fetch(`${service.control}/_fault`, { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(fault) });
    const get = (): Promise<Response> => fetch(`${service.app}/stock/teapot`, { headers: { 'x-lab-tag': 'tag', 'x-lab-client': 'client' } });
    before(async () => {
      service = await startInventory(command, args);
    });
    after(() => service.kill());

    test('answers with stock, and counts who asked', async () => {
      await fetch(`${service.control}/_stats`, { method: 'DELETE' });
      assert.deepEqual(await (await get()).json(), { sku: 'teapot', count: 7, instance: 'one' });
      const { workedMsByTag, ...counts } = (await (await fetch(`${service.control}/_stats`)).json()) as StatsDocument;
      assert.deepEqual(counts, { received: 1, byTag: { tag: 1 }, bySubject: { client: 1 }, finishedByTag: { tag: 1 }, stoppedByTag: {} });
      assert.ok(workedMsByTag['tag']! >= 0);
    });

    test('tells its CPU time and memory', async () => {
      const text = await (await fetch(`${service.control}/metrics`)).text();
      assert.match(text, /^process_cpu_seconds_total \d/m);
      assert.match(text, /^process_resident_memory_bytes [1-9]/m);
    });

    test('fails a share of requests, the same ones for the same seed', async () => {
      const run = async (): Promise<number[]> => {
        await put({ errorRate: 0.5, errorStatus: 503, seed: 7 });
        const statuses: number[] = [];
        for (let index = 0; index < 40; index++) statuses.push((await get()).status);
        return statuses;
      };
      const first = await run();
      assert.deepEqual(await run(), first);
      const failed = first.filter((status) => status === 503).length;
      assert.ok(failed > 8 && failed < 32, `${failed} of 40`);
      await fetch(`${service.control}/_fault`, { method: 'DELETE' });
      assert.equal((await get()).status, 200);
    });

    test('stops working when its client leaves, and says how long it worked', async () => {
      await put({ latencyMs: 30_000 });
      await fetch(`${service.control}/_stats`, { method: 'DELETE' });
      const stats = async (): Promise<StatsDocument> => (await (await fetch(`${service.control}/_stats`)).json()) as StatsDocument;
      const client = await RawClient.connect(Number(new URL(service.app).port));
      client.send('GET /stock/teapot HTTP/1.1\r\nHost: x\r\nX-Lab-Tag: leaves\r\n\r\n');
      while ((await stats()).received === 0);
      client.close();
      for (;;) {
        const { stoppedByTag, finishedByTag, workedMsByTag } = await stats();
        if (stoppedByTag['leaves'] === undefined) continue;
        assert.deepEqual([stoppedByTag, finishedByTag], [{ leaves: 1 }, {}]);
        assert.ok(workedMsByTag['leaves']! < 20_000);
        break;
      }
      await fetch(`${service.control}/_fault`, { method: 'DELETE' });
    });

    test('hangs until it is told not to', async () => {
      await put({ hang: true });
      const client = await RawClient.connect(Number(new URL(service.app).port));
      client.send('GET /stock/teapot HTTP/1.1\r\nHost: x\r\n\r\n');
      for (;;) {
        const { received } = (await (await fetch(`${service.control}/_stats`)).json()) as { received: number };
        if (received > 0) break;
      }
      assert.equal(client.text, '');
      await fetch(`${service.control}/_fault`, { method: 'DELETE' });
      await client.until((text) => text.includes('teapot'));
      client.close();
    });

    test('works on no more than its capacity at a time', async () => {
      await put({ capacity: { slots: 1, workMs: 40 } });
      const startedAt = performance.now();
      await Promise.all([get(), get(), get()]);
      assert.ok(performance.now() - startedAt >= 118, 'three pieces of work of 40 ms, one after the other');
      await fetch(`${service.control}/_fault`, { method: 'DELETE' });
    });

    test('refuses a fault that it does not know', async () => {
      for (const fault of [{ latncyMs: 1 }, { errorRate: 'half' }, { hang: 1 }, []]) assert.equal((await put(fault)).status, 422, JSON.stringify(fault));
    });

    test('crashes when told to', async () => {
      await put({ crash: true }).catch(() => {});
      assert.equal(await service.exited, 75);
    });
  });
}
