/**
 * Loaded before each file of tests (`--import`): ends the file when a test takes too long, and names it, or when nothing runs any more and
 * something is still open, as after a test that failed. The runner would end it much later, and tell nothing of what it printed.
 */
import cluster from 'node:cluster';
import { writeSync } from 'node:fs';

const fileTimeoutMs = 570_000;
/** More than what a test that is over may have left waiting (patience.ts). */
const quietTimeoutMs = 150_000;

function end(reason: string): never {
  writeSync(process.stderr.fd, `${process.argv[1]} is ended: ${reason}\n`);
  process.exit(1);
}

// Not in the runner itself, nor in workers that a test forks: they inherit the option.
if (process.env['NODE_TEST_CONTEXT'] !== undefined && cluster.isPrimary) {
  const { afterEach, beforeEach } = await import('node:test');
  const running = new Set<string>();
  let quiet: NodeJS.Timeout | undefined;
  beforeEach(({ name }) => {
    running.add(name);
    clearTimeout(quiet);
  });
  afterEach(({ name }) => {
    running.delete(name);
    if (running.size === 0) quiet = setTimeout(() => end(`no test runs any more, and these are still open: ${process.getActiveResourcesInfo().join(', ')}`), quietTimeoutMs).unref();
  });
  setTimeout(() => end(`after ${fileTimeoutMs / 1_000} s these still run: ${[...running].join('; ')}`), fileTimeoutMs).unref();
}
