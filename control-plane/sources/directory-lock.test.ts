import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { lockDirectory } from './directory-lock.js';

const root = mkdtempSync(join(tmpdir(), 'directory-lock-test-'));
after(() => rmSync(root, { recursive: true, force: true }));
const holder = fileURLToPath(new URL('./directory-lock.js', import.meta.url));
const isInUse = (error: unknown): boolean => error instanceof Error && /^another control plane is at work in .*: expected a directory for each/.test(error.message);

describe('a directory of one control plane', () => {
  test('is refused to the second while the first is there, and free afterwards', async () => {
    const directory = join(root, 'two');
    const release = await lockDirectory(directory);
    await assert.rejects(lockDirectory(directory), isInUse);
    await assert.rejects(lockDirectory(directory), isInUse);
    await release();
    await (await lockDirectory(directory))();
    assert.deepEqual(readdirSync(directory), [], 'nothing is left behind');
  });

  test('is never given to two of many that come together', async () => {
    const directory = join(root, 'many');
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => lockDirectory(directory)));
    const releases = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []));
    assert.ok(releases.length <= 1, `${releases.length} have it`);
    for (const outcome of outcomes) if (outcome.status === 'rejected') assert.ok(isInUse(outcome.reason));
    for (const release of releases) await release();
  });

  test('is refused while another process has it, and taken over from one that was killed', async () => {
    const directory = join(root, 'killed');
    const code = `const { lockDirectory } = await import(${JSON.stringify(holder)}); await lockDirectory(${JSON.stringify(directory)}); process.stdin.resume(); console.log('held');`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    await assert.rejects(lockDirectory(directory), isInUse);
    child.kill('SIGKILL');
    await once(child, 'close');
    const release = await lockDirectory(directory);
    assert.equal(readdirSync(directory).length, 1, 'what the killed one left is gone');
    await release();
  });

  test('may have a path that is longer than the address of a socket', { skip: process.platform !== 'linux' }, async () => {
    const directory = join(root, 'a'.repeat(120), 'b');
    mkdirSync(directory, { recursive: true });
    const release = await lockDirectory(directory);
    await assert.rejects(lockDirectory(directory), isInUse);
    await release();
    assert.deepEqual(readdirSync(directory), []);
  });
});
