/**
 * Loaded before each file of tests (`--import`): names the tests that run when the file's time is nearly over, and ends it. The runner, which
 * ends it a little later, tells nothing of what it printed.
 */
import cluster from 'node:cluster';
import { writeSync } from 'node:fs';

const fileTimeoutMs = 570_000;

// Not in the runner itself, nor in workers that a test forks: they inherit the option.
if (process.env['NODE_TEST_CONTEXT'] !== undefined && cluster.isPrimary) {
  const { afterEach, beforeEach } = await import('node:test');
  const running = new Set<string>();
  beforeEach(({ name }) => void running.add(name));
  afterEach(({ name }) => void running.delete(name));
  setTimeout(() => {
    writeSync(process.stderr.fd, `still running after ${fileTimeoutMs / 1_000} s: ${[...running].join('; ') || 'no test'}\n`);
    process.exit(1);
  }, fileTimeoutMs).unref();
}
