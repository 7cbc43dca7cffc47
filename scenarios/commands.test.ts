import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { httpOrigin } from '../tests/support/origin.js';

const main = fileURLToPath(new URL('./main.js', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'lab-commands-test-'));
after(() => rmSync(directory, { recursive: true }));

const file = join(directory, 'file');
writeFileSync(file, '');

/** A folder of reports whose newest has these results. */
function reportsWith(results: string): string {
  const reports = mkdtempSync(join(directory, 'reports-'));
  mkdirSync(join(reports, 'latest'));
  writeFileSync(join(reports, 'latest', 'results.json'), results);
  return reports;
}

async function lab(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const [code] = (await once(child, 'close')) as [number];
  return { code, stdout, stderr };
}

describe('a command of the lab that cannot do what it is asked', () => {
  const cases: readonly { readonly name: string; readonly args: () => string[]; readonly says: RegExp }[] = [
    { name: 'run with a folder of reports that cannot be', args: () => ['run', '--report', join(file, 'reports')], says: /^error: no report can be written to .*file\/reports \(--report\): ENOTDIR/ },
    { name: 'run with a folder in the place of the link to the newest report', args: () => ['run', '--report', reportsWith('{}')], says: /^error: no report can be written to .*: .*latest is no symbolic link/ },
    { name: 'run with results that are a folder', args: () => ['run', '--report', join(directory, 'good'), '--json', directory], says: /^error: .* cannot be written \(--json\): EISDIR/ },
    { name: 'report of results that are cut off', args: () => ['report', '--report', reportsWith('{"schemaVersion":')], says: /^There is no report of .*results\.json: .*JSON/ },
    { name: 'report of results of another version', args: () => ['report', '--report', reportsWith('{"schemaVersion":1}')], says: /^There is no report of .*results\.json: its schemaVersion is 1, and this program reads 2\n$/ },
    { name: 'report of results that are none', args: () => ['report', '--report', reportsWith('null')], says: /^There is no report of .*results\.json: its schemaVersion is undefined/ },
    { name: 'serve on a port that is none', args: () => ['serve', '--port', '70000'], says: /argument '70000' is invalid\. Not a port: above 65535/ },
  ];
  for (const { name, args, says } of cases) {
    test(`${name} says so in one line, and starts nothing`, async () => {
      const { code, stdout, stderr } = await lab(...args());
      assert.match(stderr, says);
      assert.deepEqual([code, stdout, stderr.trim().split('\n').length], [1, '', 1], stderr);
    });
  }

  test('serve on a port that is taken says so in one line', async (t) => {
    const origin = await httpOrigin((_request, response) => response.end());
    t.after(() => origin.close());
    const { code, stderr } = await lab('serve', '--report', join(directory, 'served'), '--port', String(origin.port));
    assert.match(stderr, /^Reports are not served: listen EADDRINUSE.*\n$/);
    assert.equal(code, 1);
  });
});
