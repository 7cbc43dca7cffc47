/**
 * Loaded before each file of tests (`--import`): where PASSED_FILES names a directory, each file that ended well leaves its path there, so that
 * the others can be run once more.
 */
import cluster from 'node:cluster';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const { NODE_TEST_CONTEXT: context, PASSED_FILES: directory } = process.env;
// Neither in the runner itself nor in workers that a test forks.
if (context !== undefined && directory !== undefined && cluster.isPrimary) {
  process.on('exit', (code) => {
    if (code === 0) writeFileSync(join(directory, String(process.pid)), `${process.argv[1]}\n`);
  });
}
