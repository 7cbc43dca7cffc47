import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { catalogue, describe, type ErrorCode } from './catalogue.js';

/** The table's row of a code, as docs/errors.md must have it. */
function row(code: ErrorCode): string {
  const { status, flag, retryable, blamesUpstream, detail } = describe(code);
  return `| \`${code}\` | ${status} | ${flag} | ${retryable ? 'yes' : 'no'} | ${blamesUpstream ? 'yes' : 'no'} | ${detail} |`;
}

test('docs/errors.md lists every code as the catalogue has it, and no other', () => {
  const text = readFileSync(new URL('../../../docs/errors.md', import.meta.url), 'utf8');
  const rows = text.split('\n').filter((line) => line.startsWith('| `'));
  assert.deepEqual(rows, (Object.keys(catalogue) as ErrorCode[]).map(row));
});
