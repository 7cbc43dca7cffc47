import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { canPin, firstProcessors, processorsIn } from './processors.js';

const lists: readonly (readonly [list: string, processors: readonly number[]])[] = [
  ['0', [0]],
  ['0-1', [0, 1]],
  ['2-4,7,10-11\n', [2, 3, 4, 7, 10, 11]],
];
for (const [list, processors] of lists) test(`the kernel's list ${list.trim()}`, () => assert.deepEqual(processorsIn(list), processors));

test('with one processor the bench says what it lacks', { skip: !canPin && 'taskset is not installed, or there is one processor' }, () => {
  const { status, stderr } = spawnSync('taskset', ['-c', firstProcessors(1), process.execPath, fileURLToPath(new URL('main.js', import.meta.url)), '--quick'], { encoding: 'utf8' });
  assert.match(stderr, new RegExp(`^error: the bench needs two processors, .*this process may use ${firstProcessors(1)} alone`));
  assert.equal(status, 1);
});
