import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxyListenSchema } from './sections.js';
import { address } from './units.js';

test('a path of a Unix domain socket has at most 103 bytes, which need not be characters, and no zero byte', () => {
  const ascii = `/${'a'.repeat(102)}`;
  const wide = `/${'é'.repeat(51)}`;
  for (const path of [ascii, wide, '/run/app']) {
    assert.deepEqual(address.parse(`unix:${path}`), { path });
    assert.equal(proxyListenSchema.parse({ path }).path, path);
  }
  for (const path of [`${ascii}a`, `${wide}a`, `/${'é'.repeat(60)}`, '/run/a\0b', 'run/app', '/', '']) {
    assert.match(address.safeParse(`unix:${path}`).error!.message, /or unix:\/path of at most 103 bytes/, JSON.stringify(path));
    assert.match(proxyListenSchema.safeParse({ path }).error!.message, /expected an absolute path of at most 103 bytes/, JSON.stringify(path));
  }
});
