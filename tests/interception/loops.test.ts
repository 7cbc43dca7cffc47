import assert from 'node:assert/strict';
import { request as httpRequest } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { portIn, TestProcess } from '../support/process.js';

const listen = { host: '127.0.0.1', port: 0 };

function ask(port: number, host: string): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    httpRequest({ host: '127.0.0.1', port, headers: { host } }, (response) => {
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
      let answer = await ask(own, 'inventory');
      let lines = 1;
      // Until it has read the file there is no endpoint.
      while (answer.body.includes('no_endpoint')) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        answer = await ask(own, 'inventory');
        lines++;
      }
      assert.equal(answer.status, 508);
      assert.match(answer.body, /"code":"loop_detected"/);
      const log = (await process.accessLog(lines - 1 + passes)).slice(lines - 1);
      assert.deepEqual(log.map(({ status }) => status), Array<number>(passes).fill(508));
      assert.equal((await process.stop()).code, 0);
    });
  }
}
