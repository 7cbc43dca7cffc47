import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { refusedPort } from '../../tests/support/origin.js';
import { units } from './declaration.js';
import { untilReady } from './lab.js';
import { ManagedProcess } from './processes.js';

describe('a lab that starts', () => {
  test('ends at once when a unit does, even one that is started again, and says what the unit wrote', async (t) => {
    const directory = mkdtempSync(join(tmpdir(), 'lab-test-'));
    const port = await refusedPort();
    const started = new ManagedProcess({
      id: 'orders', command: process.execPath, args: ['-e', 'console.error("no port for me"); process.exit(7)'], environment: {}, logFile: join(directory, 'orders.log'), restartDelayMs: 600_000,
    });
    t.after(async () => {
      await started.stop();
      started.kill();
      rmSync(directory, { recursive: true });
    });
    const lab = { units: units.filter(({ id }) => id === 'orders' || id === 'payments'), url: () => `http://127.0.0.1:${port}` };
    const living = { ended: undefined, lastWords: () => '' };
    await assert.rejects(untilReady(lab, 600_000, () => {}, ({ id }) => (id === 'orders' ? started : living)), { message: 'orders ended while it was starting (exit code 7); the last that it wrote:\nno port for me' });
  });

  test('says what a unit wrote that is not ready in time', async () => {
    const port = await refusedPort();
    const lab = { units: units.filter(({ id }) => id === 'orders'), url: () => `http://127.0.0.1:${port}` };
    await assert.rejects(untilReady(lab, 0, () => {}, () => ({ ended: undefined, lastWords: () => 'waiting for nobody' })), { message: 'orders was not ready after 0 s; the last that it wrote:\nwaiting for nobody' });
  });
});
