import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FakeClock } from '../clock/fake-clock.js';
import { asciiJson, LineWriter, shortened } from './line-writer.js';

function writerOf(size: number, fit?: (line: string, size: number) => string): { readonly clock: FakeClock; readonly writer: LineWriter; readonly batches: string[] } {
  const [clock, batches] = [new FakeClock(), [] as string[]];
  return { clock, batches, writer: new LineWriter(clock, (batch) => batches.push(batch.toString('latin1')), size, fit) };
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

  test('are made to fit where none may be longer than a batch', () => {
    const { writer, batches } = writerOf(100, shortened);
    const lines = [1, 30, 200, 5].map((length) => `{"path":"${'x'.repeat(length)}","status":200}\n`);
    for (const line of lines) writer.write(line);
    writer.close();
    assert.deepEqual(batches.map((batch) => batch.length), [lines[0]!.length + lines[1]!.length, 100, lines[3]!.length]);
    const told = batches.join('').trimEnd().split('\n').map((line) => JSON.parse(line) as { readonly path: string; readonly cut?: string });
    assert.deepEqual(told.map(({ path, cut }) => [path.length, cut]), [[1, undefined], [30, undefined], [62, 'path'], [5, undefined]]);
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

describe('a line that is shortened', () => {
  const values: readonly (readonly [name: string, path: string])[] = [
    ['plain', '/'.repeat(5_000)],
    ['of quotation marks', '"'.repeat(3_000)],
    ['of backslashes', '\\'.repeat(3_000)],
    ['of what is beyond ASCII', 'é'.repeat(1_000)],
    ['of everything', '/é\\u00e9"\t'.repeat(700)],
  ];
  for (const [name, path] of values) {
    test(`stays JSON, fills what there is, and says what was cut: ${name}`, () => {
      for (let size = 4_090; size <= 4_096; size++) {
        const line = shortened(`{"time":"now","path":${asciiJson(path)},"status":200}\n`, size);
        assert.ok(line.length <= size && line.length > size - 6, `${line.length} of ${size}`);
        const told = JSON.parse(line) as Record<string, unknown>;
        assert.deepEqual({ ...told, path: undefined }, { time: 'now', path: undefined, status: 200, cut: 'path' });
        assert.ok(path.startsWith(told['path'] as string));
      }
    });
  }

  test('loses as much of others as it takes, the longest first', () => {
    const told = JSON.parse(shortened(JSON.stringify({ requestId: 'x', caller: 'c'.repeat(3_000), path: 'p'.repeat(200), authority: 'a'.repeat(2_000) }), 1_000)) as Record<string, string>;
    assert.equal(told['cut'], 'caller,authority');
    assert.deepEqual([told['requestId'], told['caller'], told['path']!.length], ['x', '', 200]);
    assert.ok(told['authority']!.length > 600);
  });
});
