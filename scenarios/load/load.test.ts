import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { httpOrigin } from '../../tests/support/origin.js';
import { startLoad } from './load.js';
import { failedShare, slicesBetween } from './slices.js';

describe('a load', () => {
  test('says when it began, by the clock of whoever started it', async (t) => {
    const arrivals: number[] = [];
    const origin = await httpOrigin((request, response) => {
      if (request.url === '/measured') arrivals.push(performance.now());
      response.end();
    });
    t.after(() => origin.close());
    const targets = [`http://127.0.0.1:${origin.port}`];
    const askedAt = performance.now();
    const running = await startLoad({ durationMs: 500, warmupMs: 300, seed: 1, classes: [{ name: 'all', rate: 100, targets, path: '/measured' }] });
    assert.ok(running.begunAt > askedAt + 300, 'the warm-up comes first');
    const { all, slices } = await running.result;
    assert.equal(all.succeeded, 50);
    assert.ok(performance.now() >= running.begunAt + 500, 'and it lasts as long as it is to');
    // Thirty were sent to warm up, at a hundred a second: the next is the first that counts.
    assert.ok(arrivals[30]! >= running.begunAt - 1, `the first came ${arrivals[30]! - running.begunAt} ms after the begin`);
    assert.equal(slices.length, 2);
  });

  test('that cannot begin says why', async () => {
    await assert.rejects(startLoad({ durationMs: 500, warmupMs: 0, seed: 1, classes: [{ name: 'all', rate: 100, targets: ['nowhere'], path: '/' }] }), /Invalid URL/);
  });

  test('is looked at between two times, by whole slices', () => {
    const slice = (atMs: number, failed: number): { atMs: number; offered: number; succeeded: number; failed: number; maxMs: number } => ({ atMs, offered: 4, succeeded: 4 - failed, failed, maxMs: 0 });
    const result = { slices: [slice(0, 4), slice(250, 1), slice(500, 2), slice(750, 4)] };
    const between = slicesBetween({ begunAt: 10_000 }, result, 10_100, 10_760);
    assert.deepEqual(between.map(({ atMs }) => atMs), [250, 500]);
    assert.equal(failedShare(between), 3 / 8);
    assert.equal(failedShare([]), 0);
  });
});
