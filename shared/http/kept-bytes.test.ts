import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { randomFrom } from '../../tests/conformance/generate-case.js';
import { CopiedBody } from '../policy/mirror/copied-body.js';
import { StreamBody, type Body } from './body.js';
import { KeptBytes } from './kept-bytes.js';
import { ReplayableBody } from './replayable-body.js';

/** The memory that blocks hold on to, each counted once. */
const held = (blocks: readonly Buffer[]): number => [...new Set(blocks.map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0);
/** A chunk as HTTP/2 hands it over: a view of all that was read with it. */
const readOf = (bytes: number, length: number, fill = 97): Buffer => Buffer.alloc(bytes, fill).subarray(bytes - length);

describe('KeptBytes', () => {
  test('gives back what it was given, in order, wherever that was cut', () => {
    const random = randomFrom(7);
    for (let round = 0; round < 300; round++) {
      const kept = new KeptBytes();
      const given: Buffer[] = [];
      const longest = 10 ** (1 + random() * 4);
      for (let count = Math.floor(random() * 12); count > 0; count--) {
        const length = Math.floor(random() * longest);
        const chunk = readOf(length + Math.floor(random() * longest), length, Math.floor(random() * 256));
        given.push(chunk);
        kept.add(chunk);
        assert.deepEqual(Buffer.concat(kept.blocks), Buffer.concat(given));
        assert.equal(kept.length, Buffer.concat(given).length);
      }
      assert.deepEqual(kept.join(), Buffer.concat(given));
      if (kept.blocks.length > 1) assert.ok(held(kept.blocks) <= 2 * kept.length + 1_024, `${held(kept.blocks)} for ${kept.length} bytes`);
    }
  });

  const shapes: readonly (readonly [name: string, read: number, length: number, count: number])[] = [
    ['of a byte, many in a read', 10, 1, 65_536],
    ['of a byte, each in a long read', 4_096, 1, 8_192],
    ['that share a read with three others', 65_536, 16_384, 16],
    ['that are a read each', 65_536, 65_536, 4],
    ['that are a short read each', 500, 500, 200],
  ];
  for (const [name, read, length, count] of shapes) {
    test(`takes little more memory than there are bytes, for chunks ${name}`, () => {
      const kept = new KeptBytes();
      for (let index = 0; index < count; index++) kept.add(readOf(read, length));
      assert.equal(kept.length, length * count);
      assert.ok(held(kept.blocks) <= 2 * kept.length + 1_024, `${held(kept.blocks)} for ${kept.length} bytes`);
      assert.ok(kept.blocks.length <= 10 + kept.length / 4_096, `${kept.blocks.length} blocks`);
    });
  }

  test('copies nothing of what comes in one chunk, nor of what was read alone', () => {
    const one = new KeptBytes();
    const chunk = readOf(65_536, 10);
    one.add(chunk);
    assert.equal(one.join(), chunk);
    const two = new KeptBytes();
    const reads = [readOf(65_536, 65_000), readOf(8_192, 8_192)];
    for (const read of reads) two.add(read);
    assert.deepEqual(two.blocks.map(({ buffer }) => buffer), reads.map(({ buffer }) => buffer));
  });

  test('what was given out stays as it is when more is kept', () => {
    const kept = new KeptBytes();
    for (const text of ['a', 'b']) kept.add(Buffer.from(text));
    const [before] = kept.blocks;
    kept.add(Buffer.from('c'));
    assert.deepEqual([before!.toString(), kept.join().toString()], ['ab', 'abc']);
  });
});

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** What buffers hold (bytes): what nobody needs any more is given back a while after it was found. */
async function heldByBuffers(): Promise<number> {
  for (let round = 0; round < 10; round++) {
    collectGarbage();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return process.memoryUsage().arrayBuffers;
}

describe('a body of which a copy is kept while it passes', () => {
  const reads = 5_000;
  const keepers: readonly (readonly [name: string, over: (source: Body) => Body])[] = [
    ['ReplayableBody', (source) => new ReplayableBody(source, 65_536).forAttempt()],
    ['CopiedBody', (source) => new CopiedBody(source, 65_536, () => {})],
  ];
  for (const [name, over] of keepers) {
    test(`lets go of what its bytes were read with, when they come one by one: ${name}`, async () => {
      const source = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} });
      const passed: number[] = [];
      over(source).pipe({ chunk: (data) => passed.push(data[0]!) > 0, end: () => passed.push(-1), fail: () => {} });
      const before = await heldByBuffers();
      for (let index = 0; index < reads; index++) source.push(readOf(4_096, 1));
      const grown = (await heldByBuffers()) - before;
      assert.ok(grown <= reads * 100, `${grown} bytes are held for ${reads}`);
      source.end();
      assert.equal(passed.length, reads + 1);
    });
  }

  test('is sent again in few chunks', () => {
    const source = new StreamBody(undefined, { pause: () => {}, resume: () => {}, cancel: () => {} });
    const body = new ReplayableBody(source, 65_536);
    body.forAttempt().pipe({ chunk: () => true, end: () => {}, fail: () => {} });
    for (let index = 0; index < 20_000; index++) source.push(Buffer.from([index]));
    const again: Buffer[] = [];
    body.forAttempt().pipe({ chunk: (data) => again.push(data) > 0, end: () => {}, fail: () => {} });
    source.push(Buffer.from('z'));
    assert.deepEqual(Buffer.concat(again), Buffer.concat([...Array.from({ length: 20_000 }, (_, index) => Buffer.from([index])), Buffer.from('z')]));
    assert.ok(again.length < 10, `${again.length} chunks`);
  });
});
