import assert from 'node:assert/strict';
import { test } from 'node:test';
import { httpOrigin } from '../../tests/support/origin.js';
import { units } from '../lab/declaration.js';
import type { Lab } from '../lab/lab.js';
import { costBetween, readUsage } from './usage.js';

test('the cost of the units that are named is theirs alone, between the two readings', async (t) => {
  let seconds = 1;
  const origin = await httpOrigin((_request, response) => response.end(`process_cpu_seconds_total ${seconds}\nprocess_resident_memory_bytes ${seconds * 100}\n`));
  t.after(() => origin.close());
  const lab = { units, url: () => `http://127.0.0.1:${origin.port}` } as unknown as Lab;
  const ids = ['gateway', 'orders-sidecar'];
  const before = await readUsage(lab, ids);
  seconds = 1.5;
  assert.deepEqual(costBetween(lab, before, await readUsage(lab, ids)), [
    { unit: 'gateway', role: 'gateway', cpuMs: 500, residentBytes: 150 },
    { unit: 'orders-sidecar', role: 'sidecar', cpuMs: 500, residentBytes: 150 },
  ]);
});
