import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { Pipe } from '../../tests/support/pipe.js';
import { ConfigError, loadConfig, parseConfig } from './load.js';
import { redact } from './redact.js';
import { address, duration, durationFrom, size, sizeFrom } from './units.js';

const schema = z.strictObject({
  name: z.string(),
  timeout: duration.default(1_000),
  items: z.array(z.strictObject({ port: z.int() })).default([]),
  either: z.union([z.string(), z.strictObject({ keys: z.array(z.string()) })]).optional(),
});

const directory = mkdtempSync(join(tmpdir(), 'config-test-'));
after(() => rmSync(directory, { recursive: true }));

async function load(text: string): Promise<unknown> {
  const file = join(directory, 'config.yaml');
  writeFileSync(file, text);
  return loadConfig(file, schema, (document) => ((document as { name?: unknown } | null)?.name === 'taken' ? [{ path: 'name', message: 'is taken' }] : []));
}

async function problems(text: string): Promise<string[]> {
  try {
    await load(text);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems.map(({ path, message, line, column }) => `${line === undefined ? '' : `${line}:${column} `}${path}: ${message}`);
  }
  assert.fail('it was accepted');
}

describe('loadConfig', () => {
  test('reads YAML and JSON, fills defaults in, and freezes the result', async () => {
    const config = (await load('{ "name": "a", "timeout": "2s", "items": [{ "port": 1 }] }')) as { items: object[] };
    assert.deepEqual(config, { name: 'a', timeout: 2_000, items: [{ port: 1 }] });
    assert.ok(Object.isFrozen(config.items[0]));
    assert.deepEqual(await load('name: b'), { name: 'b', timeout: 1_000, items: [] });
  });

  test('names every problem with its path and its place in the file', async () => {
    assert.deepEqual(await problems('name: taken\ntimeout: soon\nitems:\n  - port: 1\n  - port: x\n    prot: 2\nextra: 1\n'), [
      '2:1 timeout: expected a duration such as 250ms, 2s or 1m, got "soon"',
      '5:5 items[1].port: invalid input: expected number, received string',
      '6:5 items[1].prot: unknown key',
      '7:1 extra: unknown key',
      '1:1 name: is taken',
    ]);
  });

  test('explains a union by the branch that was meant', async () => {
    assert.deepEqual(await problems('name: a\neither: { keys: [1] }'), ['2:11 either.keys[0]: invalid input: expected string, received number']);
  });

  const broken: readonly (readonly [name: string, text: string, problem: RegExp])[] = [
    ['an empty file', '', /empty/],
    ['a list', '- a', /does not hold a mapping/],
    ['several documents', 'name: a\n---\nname: b', /several documents/],
    ['a duplicate key', 'name: a\nname: b', /^2:1 name: stands here a second time/],
    ['a duplicate key within', 'name: a\nitems: [{ port: 1 }, { port: 2, port: 3 }]', /^2:33 items\[1\]\.port: stands here a second time/],
    ['a tag that nobody resolves', 'name: !env NAME', /^1:7 : Unresolved tag: !env/],
    ['YAML 1.1, where no is false', '%YAML 1.1\n---\nname: no', /YAML 1\.1/],
    ['a syntax error', 'name: [a', /^1:9 : /],
    ['garbage', '\x00\x01\x02{{{', /./],
    ['aliases that multiply', `a: &a [x,x,x,x,x,x,x,x,x]\n${'bcdefgh'.split('').map((key, index) => `${key}: &${key} [${Array(9).fill(`*${'abcdefg'[index]}`).join(',')}]`).join('\n')}`, /alias/i],
    ['a file that is too large', `name: ${'a'.repeat(1_100_000)}`, /at most 1048576/],
  ];
  for (const [name, text, problem] of broken) {
    test(`refuses ${name}`, async () => assert.match((await problems(text))[0]!, problem));
  }

  test('a file in which everything is wrong is told of as soon as any other, and not at any length', async () => {
    const text = `name: a\nitems:\n${'  - { prot: 1 }\n'.repeat(20_000)}`;
    const startedAt = performance.now();
    const told = await problems(text);
    // Work that grows with the square of the length takes minutes.
    assert.ok(performance.now() - startedAt < 20_000);
    assert.equal(told.length, 40_000);
    assert.equal(told.at(-1), '20002:7 items[19999].prot: unknown key');
    const shown = (await load(text).then(() => '', (error: unknown) => (error as Error).message)).split('\n');
    assert.deepEqual([shown.length, shown.at(-1)!.replace(/^.*: /, '')], [101, 'and 39900 more']);
  });

  test('refuses a name that every object has, wherever it stands', async () => {
    assert.deepEqual(await problems('name: a\nupstreams:\n  a: [{ __proto__: { name: b } }]\n'), ['3:9 upstreams.a[0].__proto__: this name cannot be used', '2:1 upstreams: unknown key']);
    assert.throws(() => parseConfig(JSON.parse('{ "labels": { "__proto__": "a" } }'), z.object({ labels: z.record(z.string(), z.string()) })), /labels\.__proto__: this name cannot be used/);
  });

  test('refuses what has no end, or waits for a writer', { skip: process.platform === 'linux' ? false : 'there is no such pipe' }, async (context) => {
    const pipe = new Pipe();
    context.after(() => pipe.close());
    for (const file of [pipe.path, '/dev/zero']) await assert.rejects(loadConfig(file, schema), /: this is no regular file$/);
  });

  test('reads what the shell connects', { skip: process.platform === 'linux' ? false : 'there is no such path' }, () => {
    const program = `const { loadConfig } = await import(process.argv[1]); const { z } = await import('zod'); console.log((await loadConfig(process.argv[2], z.object({ name: z.string() }))).name)`;
    const module = fileURLToPath(new URL('./load.js', import.meta.url));
    const run = (command: string): string => spawnSync('bash', ['-c', command, process.execPath, program, module], { encoding: 'utf8', cwd: fileURLToPath(new URL('.', import.meta.url)) }).stdout;
    assert.equal(run('echo "name: piped" | "$0" --input-type=module -e "$1" "$2" /dev/stdin'), 'piped\n');
    assert.equal(run('"$0" --input-type=module -e "$1" "$2" <(echo "name: substituted")'), 'substituted\n');
  });

  test('refuses a file that is not there, and a directory', async () => {
    await assert.rejects(loadConfig(join(directory, 'nothing.yaml'), schema), /nothing\.yaml: there is no such file/);
    await assert.rejects(loadConfig(directory, schema), /this is a directory/);
  });
});

describe('units', () => {
  const cases: readonly (readonly [z.ZodType, unknown, unknown])[] = [
    [duration, '250ms', 250], [duration, '1 minute', 60_000], [duration, '1.5s', 1_500], [duration, 20, 20],
    [duration, '10', undefined], [duration, '', undefined], [duration, '-1s', undefined], [duration, -1, undefined], [duration, '1000000h', undefined], [duration, NaN, undefined],
    [durationFrom(100), '0.1s', 100], [durationFrom(100), 5, undefined], [durationFrom(1), 0, undefined], [durationFrom(1), 'soon', undefined],
    [sizeFrom(256), '256', 256], [sizeFrom(256), 32, undefined],
    [size, '64KiB', 65_536], [size, '1MB', 1_000_000], [size, 10, 10], [size, '1XB', undefined], [size, '-1', undefined],
    [address, '127.0.0.1:80', { host: '127.0.0.1', port: 80 }], [address, '[::1]:80', { host: '::1', port: 80 }], [address, 'orders:8080', { host: 'orders', port: 8080 }],
    [address, 'orders', undefined], [address, 'orders:0', undefined], [address, 'orders:70000', undefined], [address, 'http://orders:80', undefined],
  ];
  for (const [unit, input, expected] of cases) {
    test(`${JSON.stringify(input)} is ${expected === undefined ? 'refused' : JSON.stringify(expected)}`, () => assert.deepEqual(unit.safeParse(input).data, expected));
  }
});

describe('redact', () => {
  test('hides secrets and leaves the rest', () => {
    assert.deepEqual(
      redact({ token: 't', tokenFile: '/run/token', password: 'p', url: 'https://me:secret@host/x', keys: [{ kty: 'RSA', n: 'public', d: 'private' }], port: 1 }),
      { token: '[redacted]', tokenFile: '/run/token', password: '[redacted]', url: 'https://[redacted]@host/x', keys: [{ kty: 'RSA', n: 'public', d: '[redacted]' }], port: 1 },
    );
  });
});
