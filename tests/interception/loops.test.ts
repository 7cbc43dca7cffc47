import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { portIn, TestProcess } from '../support/process.js';
import { until } from '../support/until.js';

const listen = { host: '127.0.0.1', port: 0 };

function ask(port: number, host: string, path: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    httpRequest({ host: '127.0.0.1', port, path, headers: { host } }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk)).on('end', () => resolve({ status: response.statusCode!, body }));
    }).on('error', reject).end();
  });
}

const placements = [
  ['sidecar', 'sidecar/main.js', 'outbound', { service: 'orders', outbound: { listen } }, 2],
  // An application behind a gateway may be a proxy itself: only what comes back for the fourth time is a loop.
  ['gateway', 'gateway/main.js', 'listen', { listen, routes: [{ upstream: 'inventory' }] }, 5],
] as const;

for (const [name, entry, port, config, passes] of placements) {
  for (const workers of [1, 2]) {
    test(`a ${name}${workers === 1 ? '' : ' of two workers'} that discovery sends back to itself answers 508 instead of going round`, async (context) => {
      const directory = mkdtempSync(join(tmpdir(), 'loops-test-'));
      context.after(() => rmSync(directory, { recursive: true }));
      const file = join(directory, 'endpoints.json');
      writeFileSync(file, '[]');
      const process = new TestProcess(entry, { ...config, workers, admin: listen, upstreams: { inventory: { discovery: { file } } } });
      const ready = await process.logged('ready');
      const own = portIn(ready, port);
      writeFileSync(file, JSON.stringify([`127.0.0.1:${own}`]));
      // Until all workers have read the file some have no endpoint; each question has a path of its own, to be found in the log by.
      let asked = 1;
      let answer = await ask(own, 'inventory', '/1');
      await until(async () => {
        if (!answer.body.includes('no_endpoint')) return true;
        answer = await ask(own, 'inventory', `/${++asked}`);
        return false;
      });
      assert.equal(answer.status, 508);
      assert.match(answer.body, /"code":"loop_detected"/);
      const logged = async (count: number): Promise<unknown[]> => (await process.accessLog(count)).filter(({ path }) => path === `/${asked}`).map(({ status }) => status);
      let count = passes;
      let statuses = await logged(count);
      while (statuses.length < passes) statuses = await logged(++count);
      assert.deepEqual(statuses, Array<number>(passes).fill(508));
      assert.equal((await process.stop()).code, 0);
    });
  }
}
