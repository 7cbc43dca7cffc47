import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { readFileBounded, readFileBoundedSync, whyUnreadable } from './read-file.js';

const directory = mkdtempSync(join(tmpdir(), 'read-file-'));
after(() => rmSync(directory, { recursive: true }));

const waysToRead: readonly (readonly [name: string, read: (path: string, maxBytes?: number) => Promise<Buffer>])[] = [
  ['readFileBounded', readFileBounded],
  ['readFileBoundedSync', async (path, maxBytes) => readFileBoundedSync(path, maxBytes)],
];
for (const [name, read] of waysToRead) {
  const why = (path: string, maxBytes?: number): Promise<string> => read(path, maxBytes).then(() => 'it was read', whyUnreadable);
  const place = (file: string): string => join(directory, `${name}-${file}`);

  describe(name, () => {
    test('reads a file, also by a link, that has as many bytes as are read', async () => {
      const file = place('file');
      writeFileSync(file, Buffer.alloc(100_000, 'x'));
      symlinkSync(file, place('link'));
      for (const path of [file, place('link')]) assert.deepEqual(await read(path, 100_000), Buffer.alloc(100_000, 'x'));
      assert.equal(await why(file, 99_999), 'it has more than 99999 bytes, which are all that is read');
    });

    test('reads what says that it has no size', { skip: process.platform === 'linux' ? false : 'there is no /proc' }, async () => {
      assert.match((await read('/proc/self/status')).toString(), /^Name:/);
    });

    test('says what is wrong with what is not there', async () => {
      assert.equal(await why(place('none')), 'ENOENT');
    });

    const notFiles: readonly (readonly [what: string, make: (path: string) => void])[] = [
      ['a FIFO that nobody writes to', (path) => void execFileSync('mkfifo', [path])],
      ['a device without an end', (path) => symlinkSync('/dev/zero', path)],
      ['a directory', (path) => mkdirSync(path)],
    ];
    for (const [what, make] of notFiles) {
      test(`refuses ${what}`, { skip: process.platform === 'win32' ? 'there are none' : false }, async () => {
        const path = place(what);
        make(path);
        assert.equal(await why(path), 'it is no regular file');
      });
    }
  });
}
