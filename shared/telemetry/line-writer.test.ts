import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../clock/fake-clock.js';
import { LineWriter } from './line-writer.js';

function writerOf(size: number): { readonly clock: FakeClock; readonly writer: LineWriter; readonly batches: string[] } {
  const [clock, batches] = [new FakeClock(), [] as string[]];
  return { clock, batches, writer: new LineWriter(clock, (batch) => batches.push(batch.toString('latin1')), size) };
}

describe('lines that leave in batches', () => {
  test('leave when they are old enough, and not before', async () => {
    const { clock, writer, batches } = writerOf(100);
    writer.write('one\n');
    await clock.advance(199);
    writer.write('two\n');
    assert.deepEqual(batches, []);
    await clock.advance(1);
    assert.deepEqual(batches, ['one\ntwo\n']);
    writer.write('three\n');
    await clock.advance(200);
    assert.deepEqual(batches, ['one\ntwo\n', 'three\n']);
  });

  test('leave when the batch is full, whole', () => {
    const { writer, batches } = writerOf(10);
    for (const line of ['1234\n', '5678\n', 'abc\n']) writer.write(line);
    assert.deepEqual(batches, ['1234\n5678\n']);
    writer.close();
    assert.deepEqual(batches, ['1234\n5678\n', 'abc\n']);
  });

  test('keep their order beside one that is longer than a batch', () => {
    const { writer, batches } = writerOf(10);
    for (const line of ['short\n', 'far too long for one\n', 'again\n']) writer.write(line);
    writer.close();
    assert.equal(batches.join(''), 'short\nfar too long for one\nagain\n');
  });

  test('are made of what was handed over when there are sixteen, when they are old, and when the writer closes', async () => {
    const { clock, writer, batches } = writerOf(1_000);
    const made: number[] = [];
    const all = Array.from({ length: 18 }, (_, index) => index + 1);
    const hand = (from: number, to: number): void => {
      for (let index = from; index <= to; index++) writer.later(index, (of) => `${made.push(of)}\n`);
    };
    hand(1, 15);
    assert.deepEqual(made, []);
    hand(16, 17);
    assert.equal(made.length, 16);
    await clock.advance(200);
    assert.equal(made.length, 17);
    assert.equal(batches.length, 1);
    hand(18, 18);
    writer.close();
    assert.deepEqual(made, all);
    assert.equal(batches.join(''), `${all.join('\n')}\n`);
  });

  test('keep their order, whether they come as lines or are made later', () => {
    const { writer, batches } = writerOf(1_000);
    writer.later('one', (of) => `${of}\n`);
    writer.write('two\n');
    writer.later('three', (of) => `${of}\n`);
    writer.close();
    assert.equal(batches.join(''), 'one\ntwo\nthree\n');
  });

  test('take one timer, however many batches were full in the meantime', async () => {
    const { clock, writer, batches } = writerOf(10);
    for (let round = 0; round < 50; round++) {
      for (let line = 0; line < 21; line++) writer.write('123\n');
      await clock.advance(20);
    }
    // 525 that are full, of two lines, in a second; each of the five timers in it may send one away that is not.
    assert.ok(batches.length <= 530, `${batches.length} batches`);
  });
});
