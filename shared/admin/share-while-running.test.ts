import assert from 'node:assert/strict';
import { test } from 'node:test';
import { shareWhileRunning } from './share-while-running.js';

test('who asks before it is over has the same, and who asks later has it anew', async () => {
  let runs = 0;
  let end: (() => void) | undefined;
  const begun = { resolve: () => {} };
  const ask = shareWhileRunning(async () => {
    const run = ++runs;
    begun.resolve();
    await new Promise<void>((resolve) => (end = resolve));
    return run;
  });
  const untilBegun = new Promise<void>((resolve) => (begun.resolve = resolve));
  const early = [ask(), ask()];
  await untilBegun;
  const late = ask();
  end!();
  assert.deepEqual(await Promise.all([...early, late]), [1, 1, 1]);
  const untilBegunAnew = new Promise<void>((resolve) => (begun.resolve = resolve));
  const anew = ask();
  await untilBegunAnew;
  end!();
  assert.equal(await anew, 2);
});

test('a failure is told to all who wait, and to nobody later', async () => {
  let runs = 0;
  const ask = shareWhileRunning(async () => {
    if (++runs === 1) throw new Error('broken');
    return runs;
  });
  assert.deepEqual((await Promise.allSettled([ask(), ask()])).map(({ status }) => status), ['rejected', 'rejected']);
  assert.equal(await ask(), 2);
});
