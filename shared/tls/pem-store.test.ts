import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { FakeClock, settle } from '../clock/fake-clock.js';
import { PemStore } from './pem-store.js';

describe('the files of a process', () => {
  let directory: string;
  let cert: string;
  let key: string;
  let clock: FakeClock;
  let looks: string[];
  let pems: PemStore;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'pems-'));
    [cert, key] = [join(directory, 'cert'), join(directory, 'key')];
  });
  after(() => rmSync(directory, { recursive: true }));
  beforeEach(() => {
    for (const path of [cert, key]) writeFileSync(path, 'first');
    clock = new FakeClock();
    looks = [];
    pems = new PemStore(clock, (path) => {
      looks.push(path);
      return readFile(path);
    });
  });

  test('who reads one hears of its change, once for several at the same time', async () => {
    const heard: string[] = [];
    const files = pems.open([cert, key], () => heard.push(`${files.read(cert).toString()} ${files.read(key).toString()}`));
    pems.open([key], () => heard.push('key'));
    writeFileSync(cert, 'second');
    await pems.refresh();
    writeFileSync(cert, 'third');
    writeFileSync(key, 'third');
    await pems.refresh();
    await pems.refresh();
    assert.deepEqual(heard, ['second first', 'third third', 'key']);
    pems.close();
    assert.equal(clock.pending, 0);
  });

  test('there is one timer, also where readers come and go within a look', async () => {
    let files = pems.open([cert]);
    for (let round = 0; round < 4; round++) {
      await clock.advance(5_000);
      files.close();
      files = pems.open([cert]);
      await pems.refresh();
      await settle();
      assert.equal(clock.pending, 1);
    }
    pems.close();
    assert.equal(clock.pending, 0);
  });

  test('one that nobody reads any more is not looked at any more, and the last leaves no timer behind', async () => {
    const heard: string[] = [];
    const [first, second] = [pems.open([cert, key], () => heard.push('first')), pems.open([key], () => heard.push('second'))];
    first.close();
    first.close();
    writeFileSync(key, 'second');
    await pems.refresh();
    assert.deepEqual([looks, heard], [[key], ['second']]);
    second.close();
    await pems.refresh();
    assert.deepEqual(looks, [key]);
    assert.equal(clock.pending, 0);
    assert.equal(pems.open([key]).read(key).toString(), 'second');
    assert.equal(clock.pending, 1);
    pems.close();
  });

  test('one that is not there yet is a change when it comes, also for who has read it before that was seen', async () => {
    const late = join(directory, 'late');
    let changes = 0;
    const files = pems.open([late], () => changes++);
    assert.throws(() => files.read(late), { code: 'ENOENT' });
    writeFileSync(late, 'here');
    assert.equal(files.read(late).toString(), 'here');
    await pems.refresh();
    assert.equal(changes, 1);
    rmSync(late);
    await pems.refresh();
    assert.equal(files.read(late).toString(), 'here', 'one that is gone keeps its contents');
    pems.close();
  });

  test('one that is gone for two looks is told of once, and one that is back is a change', async () => {
    const heard: (string | undefined)[] = [];
    pems.open([cert, key], (lost) => heard.push(lost?.message));
    const looksAgain = async (): Promise<(string | undefined)[]> => {
      await pems.refresh();
      return heard.splice(0);
    };
    rmSync(cert);
    assert.deepEqual(await looksAgain(), [], 'it may be exchanged at the moment');
    writeFileSync(cert, 'first');
    assert.deepEqual(await looksAgain(), []);
    rmSync(cert);
    assert.deepEqual(await looksAgain(), []);
    writeFileSync(key, 'second');
    assert.deepEqual(await looksAgain(), [`${cert}: the file cannot be read (ENOENT)`, undefined], 'the other has changed');
    assert.deepEqual(await looksAgain(), []);
    writeFileSync(cert, 'first');
    assert.deepEqual(await looksAgain(), [undefined]);
    assert.deepEqual(await looksAgain(), []);
    pems.close();
  });

  test('one that cannot be read for a reason that does not pass is told of at once, also if it has never been there', async () => {
    const heard: (string | undefined)[] = [];
    const late = join(directory, 'directory');
    const files = pems.open([cert, late], (lost) => heard.push(lost?.message));
    await pems.refresh();
    await pems.refresh();
    assert.deepEqual(heard, [], 'what is not there yet is awaited');
    rmSync(cert);
    for (const path of [cert, late]) mkdirSync(path);
    await pems.refresh();
    await pems.refresh();
    assert.deepEqual(heard.splice(0), [cert, late].map((path) => `${path}: the file cannot be read (EISDIR)`));
    assert.equal(files.read(cert).toString(), 'first');
    for (const path of [cert, late]) rmSync(path, { recursive: true });
    pems.close();
  });

  test('a process that is short of descriptors for one look says nothing of the files', async () => {
    const heard: (string | undefined)[] = [];
    let code: string | undefined;
    const short = new PemStore(clock, (path) => (code === undefined ? readFile(path) : Promise.reject(Object.assign(new Error(code), { code }))));
    short.open([cert], (lost) => heard.push(lost?.message));
    for (const next of ['EMFILE', undefined, 'ENFILE', undefined]) {
      code = next;
      await short.refresh();
    }
    assert.deepEqual(heard, []);
    short.close();
  });

  test('while a volume hangs there is no second look, and nothing that was read is exchanged in part', async () => {
    const waiting: ((contents: Buffer) => void)[] = [];
    const answer = async (contents: string): Promise<void> => {
      waiting.shift()!(Buffer.from(contents));
      await clock.advance(0);
    };
    const slow = new PemStore(clock, () => new Promise((resolve) => waiting.push(resolve)));
    let changes = 0;
    const files = slow.open([cert, key], () => changes++);
    await clock.advance(60_000);
    assert.equal(waiting.length, 1);
    await answer('second');
    assert.equal(files.read(cert).toString(), 'first');
    await answer('second');
    assert.deepEqual([files.read(cert).toString(), files.read(key).toString(), changes], ['second', 'second', 1]);
    await clock.advance(4_999);
    assert.equal(waiting.length, 0);
    await clock.advance(1);
    assert.equal(waiting.length, 1);
    const asked = slow.refresh();
    await answer('second');
    await answer('second');
    assert.equal(waiting.length, 1, 'what was asked for within a look is one of its own');
    await answer('third');
    await answer('third');
    await asked;
    assert.deepEqual([files.read(cert).toString(), changes], ['third', 2]);
    slow.close();
  });
});
