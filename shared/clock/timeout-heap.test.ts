import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { FakeClock } from './fake-clock.js';
import { TimeoutHeap, type HeapEntry } from './timeout-heap.js';

function entry(expiresAt: number, onExpire: () => void): HeapEntry {
  return { heapIndex: -1, expiresAt, onExpire };
}

describe('TimeoutHeap', () => {
  test('expires what was not removed, in order of time, each once and none early', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.record({ at: fc.integer({ min: 1, max: 100 }), removed: fc.boolean() }), { maxLength: 60 }), async (plan) => {
        const clock = new FakeClock();
        const heap = new TimeoutHeap(clock);
        const expired: number[] = [];
        const entries = plan.map(({ at }) => entry(at, () => {
          assert.ok(clock.now() >= at, 'not early');
          expired.push(at);
        }));
        entries.forEach((one) => heap.add(one));
        plan.forEach(({ removed }, index) => removed && heap.remove(entries[index]!));
        await clock.advance(200);
        assert.deepEqual(expired, plan.filter(({ removed }) => !removed).map(({ at }) => at).sort((a, b) => a - b));
        assert.equal(heap.size, 0);
        assert.equal(clock.pending, 0, 'no timer is left');
      }),
      { seed: 7, numRuns: 200 },
    );
  });

  test('an entry may be added while another expires, and removed twice', async () => {
    const clock = new FakeClock();
    const heap = new TimeoutHeap(clock);
    const seen: string[] = [];
    const second = entry(15, () => seen.push('second'));
    const gone = entry(12, () => seen.push('gone'));
    heap.add(entry(10, () => {
      seen.push('first');
      heap.add(second);
      heap.remove(gone);
      heap.remove(gone);
    }));
    heap.add(gone);
    await clock.advance(20);
    assert.deepEqual(seen, ['first', 'second']);
  });
});
