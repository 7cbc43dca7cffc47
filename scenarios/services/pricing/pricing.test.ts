import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePorts } from '../../lab/free-port.js';
import { generate } from '../../load/generator.js';
import type { StatsDocument } from '../stats.js';
import { CallFailure, PricingClient } from './client.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));

describe('the pricing service', () => {
  let children: ChildProcess[];
  let addresses: string[];
  let controls: string[];
  let client: PricingClient;
  const fault = (index: number, body: object | undefined): Promise<Response> =>
    fetch(`${controls[index]!}/_fault`, body === undefined ? { method: 'DELETE' } : { method: 'PUT', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  const stats = async (index: number): Promise<StatsDocument> => (await (await fetch(`${controls[index]!}/_stats`)).json()) as StatsDocument;
  before(async () => {
    const ports = await freePorts(4);
    addresses = ports.slice(0, 2).map((port) => `127.0.0.1:${port}`);
    controls = ports.slice(2).map((port) => `http://127.0.0.1:${port}`);
    children = [0, 1].map((index) =>
      spawn(process.execPath, [main, 'pricing'], { stdio: 'inherit', env: { ...process.env, HOST: '127.0.0.1', PORT: String(ports[index]), CONTROL_PORT: String(ports[index + 2]), INSTANCE: `pricing-${index + 1}` } }),
    );
    for (const control of controls) while ((await fetch(`${control}/healthz`).catch(() => undefined))?.ok !== true);
    client = new PricingClient(addresses);
  });
  after(async () => {
    await client.close();
    for (const child of children) child.kill('SIGKILL');
  });

  test('says one price, or a stream of them', async () => {
    assert.deepEqual(await client.quote('teapot', { timeoutMs: 10_000 }), { sku: 'teapot', pieces: 1, cents: 2_400, instance: 'pricing-1' });
    const prices = await client.scale('cup', 3, { timeoutMs: 10_000 });
    assert.deepEqual(prices.map(({ pieces, cents }) => [pieces, cents]), [[1, 350], [2, 700], [3, 1_050]]);
  });

  test('fails by gRPC’s statuses', async () => {
    const failed = async (call: Promise<unknown>): Promise<string> => call.then(() => 'OK', (error: unknown) => (error as CallFailure).code);
    assert.equal(await failed(client.quote('nothing', { timeoutMs: 10_000 })), 'NOT_FOUND');
    assert.equal(await failed(client.scale('nothing', 1, { timeoutMs: 10_000 })), 'NOT_FOUND');
    assert.equal(await failed(client.scale('cup', 1_000, { timeoutMs: 10_000 })), 'INVALID_ARGUMENT');
    await fault(0, { errorRate: 1 });
    assert.equal(await failed(client.quote('cup', { timeoutMs: 10_000 })), 'UNAVAILABLE');
    await fault(0, undefined);
  });

  test('a call that hangs ends with its deadline, and one whose caller left is stopped', async () => {
    await fetch(`${controls[0]!}/_stats`, { method: 'DELETE' });
    await fault(0, { hang: true });
    await assert.rejects(client.quote('cup', { timeoutMs: 200 }), (error) => error instanceof CallFailure && error.code === 'DEADLINE_EXCEEDED');
    await fault(0, { latencyMs: 30_000 });
    const gone = new AbortController();
    const call = client.quote('cup', { timeoutMs: 60_000, fields: { 'x-lab-tag': 'leaves' }, gone: gone.signal });
    while ((await stats(0)).byTag['leaves'] === undefined);
    gone.abort();
    await assert.rejects(call, (error) => error instanceof CallFailure && error.code === 'CANCELLED');
    while ((await stats(0)).stoppedByTag['leaves'] !== 1);
    await fault(0, undefined);
  });

  test('a client that is told two instances puts a whole load on one of them', async () => {
    await Promise.all(controls.map((control) => fetch(`${control}/_stats`, { method: 'DELETE' })));
    const targets = addresses.map((address) => `http://${address}`);
    const { all } = await generate({ durationMs: 500, warmupMs: 0, seed: 1, classes: [{ name: 'calls', protocol: 'grpc', rate: 40, targets, path: 'teapot', headers: [{ 'x-lab-tag': 'pinned' }] }] });
    assert.deepEqual([all.sent, all.succeeded, all.statuses], [20, 20, { 200: 20 }]);
    const tags = await Promise.all([0, 1].map(async (index) => (await stats(index)).byTag['pinned'] ?? 0));
    assert.deepEqual(tags.sort(), [0, 20].sort());
  });

  test('a load counts calls by the status that they ended with', async () => {
    const { all } = await generate({ durationMs: 250, warmupMs: 0, seed: 1, classes: [{ name: 'calls', protocol: 'grpc', rate: 40, targets: [`http://${addresses[0]!}`], path: 'nothing' }] });
    assert.deepEqual([all.succeeded, all.errors], [0, { NOT_FOUND: 10 }]);
  });
});
