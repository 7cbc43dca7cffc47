import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { ReportDocument } from '../report/document.js';
import { claims } from '../claims.js';
import type { Claim } from '../runner/claim.js';
import { runComparison } from '../runner/run-comparison.js';
import { LabSession } from '../runner/session.js';
import { startEmbedded } from './embedded.js';
import type { Lab } from './lab.js';

const main = fileURLToPath(new URL('../main.js', import.meta.url));
const clients = fileURLToPath(new URL('../../../scenarios/clients/', import.meta.url));

/** Processes whose command line mentions `text`. */
function processesWith(text: string): string[] {
  const { stdout } = spawnSync('ps', ['-eo', 'pid,args'], { encoding: 'utf8' });
  return stdout.split('\n').filter((line) => line.includes(text) && !line.includes('ps -eo'));
}

describe('the embedded lab', () => {
  let lab: Lab & { readonly directory: string };
  before(async () => {
    lab = await startEmbedded();
  });
  after(async () => {
    await lab.close();
    assert.deepEqual(processesWith(lab.directory), [], 'no process is left');
    assert.ok(!existsSync(lab.directory), 'no file is left');
  });

  test('serves the shop to the sample clients, with and without sidecars', async () => {
    for (const placement of ['ambassador', 'both'] as const) {
      await new LabSession(lab, 1).begin(placement, []);
      const base = lab.url('gateway', 'http');
      for (const [command, file] of [['sh', 'shop.sh'], [process.execPath, 'shop.mjs'], ['python3', 'shop.py']] as const) {
        if (spawnSync(command, ['--version']).error !== undefined || spawnSync('curl', ['--version']).error !== undefined) continue;
        const { status, stdout, stderr } = spawnSync(command, [join(clients, file), base], { encoding: 'utf8', timeout: 20_000 });
        assert.equal(status, 0, `${file}: ${stderr}`);
        assert.match(stdout, /teapot[^]*paid/, file);
      }
    }
  });

  test('one request is one trace, through every proxy on its way', async () => {
    await new LabSession(lab, 1).begin('both', []);
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736';
    const response = await fetch(`${lab.url('gateway', 'http')}/orders/7`, { headers: { traceparent: `00-${traceId}-00f067aa0ba902b7-01` } });
    assert.equal(response.status, 200);
    const hops = (): string[] =>
      ['gateway', 'orders-sidecar', 'inventory-1-sidecar', 'inventory-2-sidecar', 'inventory-3-sidecar'].flatMap((unit) =>
        readFileSync(join(lab.directory, `${unit}.log`), 'utf8')
          .split('\n')
          .filter((line) => line.includes(traceId))
          .map((line) => `${unit.replace(/-\d/, '')} ${(JSON.parse(line) as { listener: string }).listener}`),
      );
    // The access log is written in batches.
    while (hops().length < 4) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(hops().sort(), ['gateway edge', 'inventory-sidecar inbound', 'orders-sidecar inbound', 'orders-sidecar outbound']);
  });

  test('prices come over gRPC, sessions over TCP, and payments by way of what discovery finds', async () => {
    const post = (body: object): RequestInit => ({ method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
    for (const placement of ['ambassador', 'both'] as const) {
      await new LabSession(lab, 1).begin(placement, []);
      const base = lab.url('gateway', 'http');
      const json = async (path: string, init?: RequestInit): Promise<Record<string, unknown>> => (await (await fetch(base + path, init)).json()) as Record<string, unknown>;
      const { prices } = await json('/orders/7/prices');
      assert.deepEqual((prices as { cents: number }[]).map(({ cents }) => cents), [2_400, 4_800, 7_200, 9_600, 12_000], placement);
      const { session } = await json('/login', post({ user: 'alice', password: 'wonderland' }));
      assert.deepEqual(await json(`/users/sessions/${String(session)}`), { user: 'alice' }, placement);
      const receipts = await Promise.all(Array.from({ length: 20 }, () => json('/payments', post({ amount: 3 }))));
      assert.deepEqual([...new Set(receipts.map(({ receipt }) => (receipt as { by: string }).by))].sort(), ['provider-1', 'provider-2'], placement);
    }
  });

  test('a comparison leaves none of its policies behind', async () => {
    const forged = claims.find(({ name }) => name === 'forged-tokens-stop-at-the-edge')!;
    const status = async (): Promise<number> => (await fetch(`${lab.url('gateway', 'http')}/orders/7`)).status;
    const asked: number[] = [];
    const run: Claim['run'] = async (_session, placement) => {
      if (placement !== 'none') asked.push(await status());
      return { facts: {}, loads: {} };
    };
    await runComparison([{ ...forged, run, expectations: [], columns: [], sentences: () => [] }], lab, { seed: 1, progress: { step: () => {}, finish: () => {} } });
    assert.deepEqual(asked, [401, 401, 401], 'the claim has its tokens asked for');
    assert.equal(await status(), 200);
  });

  test('a claim that throws leaves neither a fault nor a load to the next one, which is run', async () => {
    const [first] = claims as readonly [Claim];
    const of: Pick<Claim, 'rounds' | 'expectations' | 'columns' | 'sentences' | 'charts'> = { rounds: 1, expectations: [], columns: [], sentences: () => [], charts: [] };
    const throws: Claim['run'] = async (session, placement) => {
      if (placement !== 'both') return { facts: {}, loads: {} };
      await session.start({ warmupMs: 0, durationMs: 4_000, classes: [{ name: 'orders', rate: 200, targets: session.inside('orders', placement), path: '/orders/7' }] });
      await session.setFault('orders', { errorRate: 1 });
      throw new Error('enough');
    };
    const received: number[] = [];
    const statuses = new Set<number>();
    const looks: Claim['run'] = async (session) => {
      for (let request = 0; request < 20; request++) statuses.add((await fetch(`${lab.url('orders', 'app')}/orders/7`)).status);
      received.push((await session.stats('orders'))!.received);
      return { facts: {}, loads: {} };
    };
    const document = await runComparison([{ ...first, ...of, name: 'throws', run: throws }, { ...first, ...of, name: 'looks', run: looks }], lab, { seed: 1, progress: { step: () => {}, finish: () => {} } });
    assert.deepEqual(document.claims.map(({ name, verdict, failure }) => [name, verdict, failure]), [['throws', 'not as expected', 'enough'], ['looks', 'as expected', undefined]]);
    assert.deepEqual([[...statuses], received], [[200], [20, 20, 20, 20]]);
  });

  test('an application that crashes is started again', async () => {
    const session = new LabSession(lab, 1);
    await session.setFault('payments', { crash: true }).catch(() => {});
    while ((await session.stats('payments')) !== undefined);
    while ((await session.stats('payments')) === undefined) await new Promise((resolve) => setImmediate(resolve));
  });
});

describe('the command line', () => {
  const directory = mkdtempSync(join(tmpdir(), 'lab-cli-test-'));
  after(() => rmSync(directory, { recursive: true, force: true }));

  test('runs a claim, writes its report and its results, and leaves nothing behind', async () => {
    const json = join(directory, 'out.json');
    const child = spawn(process.execPath, [main, 'run', 'forged-tokens-stop-at-the-edge', '--report', directory, '--json', json], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (data: Buffer) => (output += data.toString()));
    child.stderr.on('data', (data: Buffer) => (output += data.toString()));
    const [code] = (await once(child, 'close')) as [number];
    assert.equal(code, 0, output);
    const document = JSON.parse(readFileSync(json, 'utf8')) as ReportDocument;
    assert.deepEqual(document.claims.map(({ name, verdict }) => [name, verdict]), [['forged-tokens-stop-at-the-edge', 'as expected']]);
    const html = readFileSync(join(directory, 'latest', 'report.html'), 'utf8');
    assert.match(html, /All 1 claims came out as expected/);
    assert.doesNotMatch(html, /(?:src|href)="(?:https?:)?\/\//, 'the page fetches nothing');
    assert.match(output, /Forged tokens stop at the edge/);
  });

  const ends = [{ name: 'Ctrl-C', signal: 'SIGINT', exits: 130 }, { name: 'a terminal that is closed', signal: 'SIGHUP', exits: 129 }] as const;
  for (const { name, signal, exits } of ends) {
    test(`${name} in the middle leaves nothing behind and exits ${exits}`, async () => {
      const child = spawn(process.execPath, [main, 'run', '--report', directory, '--keep-logs'], { stdio: ['ignore', 'ignore', 'pipe'] });
      let stderr = '';
      const lab = new Promise<string>((resolve) => child.stderr.on('data', (data: Buffer) => {
        stderr += data.toString();
        const logs = /^logs: (.*)$/m.exec(stderr)?.[1];
        if (logs !== undefined && stderr.includes('a-hop-costs-this-much: none')) resolve(logs);
      }));
      const logs = await lab;
      assert.notDeepEqual(processesWith(logs), []);
      child.kill(signal);
      const [code] = (await once(child, 'exit')) as [number];
      assert.equal(code, exits);
      while (processesWith(logs).length > 0) await new Promise((resolve) => setImmediate(resolve));
      rmSync(logs, { recursive: true, force: true });
    });
  }

  test('up says where the control plane is, which the command line then talks to', async () => {
    const child = spawn(process.execPath, [main, 'up'], { stdio: ['ignore', 'pipe', 'pipe'] });
    let [output, logs] = ['', ''];
    child.stderr.on('data', (data: Buffer) => (logs += data.toString()));
    const address = await new Promise<string>((resolve, reject) => {
      child.on('close', () => reject(new Error(`it ended: ${output}${logs}`)));
      child.stdout.on('data', (data: Buffer) => {
        output += data.toString();
        const url = /^The control plane is at (http:\/\/127\.0\.0\.1:\d+): /m.exec(output)?.[1];
        if (url !== undefined) resolve(url);
      });
    });
    const directoryOfLab = /^logs: (.*)$/m.exec(logs)![1]!;
    try {
      const lab = (...args: string[]) => spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', env: { PATH: process.env['PATH'], NO_COLOR: '1', CONTROL_PLANE_URL: address } });
      const status = lab('status', '--wait');
      assert.equal(status.status, 0, status.stdout + status.stderr);
      for (const proxy of ['gateway', 'orders-sidecar', 'inventory-3-sidecar']) assert.match(status.stdout, new RegExp(`^${proxy} .*up to date$`, 'm'));
      assert.match(lab('get', 'routes').stdout, /^Route\s+login\s+POST \/login → users-bare$/m);
      assert.match(lab('history').stdout, /configuration\s+seed/);
    } finally {
      child.removeAllListeners('close');
      child.kill('SIGTERM');
      await once(child, 'exit');
      while (processesWith(directoryOfLab).length > 0) await new Promise((resolve) => setImmediate(resolve));
      rmSync(directoryOfLab, { recursive: true, force: true });
    }
  });

  test('a claim that does not exist is named', async () => {
    const { status, stderr } = spawnSync(process.execPath, [main, 'run', 'no-such-claim'], { encoding: 'utf8' });
    assert.equal(status, 1);
    assert.match(stderr, /there is no claim "no-such-claim"; there is a-hop-costs-this-much/);
  });

  test('a reader that has read enough ends it without a word', async () => {
    const child = spawn(process.execPath, [main, 'list'], { stdio: ['ignore', 'pipe', 'pipe'] });
    child.stdout.destroy();
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    const [code] = (await once(child, 'close')) as [number];
    assert.deepEqual([code, stderr], [141, '']);
  });
});
