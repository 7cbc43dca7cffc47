import assert from 'node:assert/strict';
import { test } from 'node:test';
import { placements } from '../runner/claim.js';
import type { ClaimResult } from '../runner/run-claim.js';
import { schemaVersion } from './document.js';
import { reportHtml } from './html.js';
import { describeMachine } from './machine.js';

function page(rounds: number): string {
  const variants = placements.map((placement) => ({ placement, facts: {}, loads: {}, costs: [], parity: { loads: [], rates: [], policies: '', version: '', node: '' } }));
  const claim: ClaimResult = { name: 'a-claim', title: 'A claim', statement: '', reading: '', rounds, variants, expectations: [], sentences: [], charts: [], columns: [], unequal: [], verdict: 'as expected' };
  return reportHtml({ schemaVersion, startedAt: '', durationMs: 0, seed: 1, mode: 'embedded', machine: describeMachine(), notes: [], claims: [claim] });
}

test('the page says of which round its details are, where its figures are medians', () => {
  assert.match(page(3), /cost of each process: of the last of 3 rounds; what stands above are medians over all/);
  assert.match(page(1), /cost of each process<\/summary>/);
});
