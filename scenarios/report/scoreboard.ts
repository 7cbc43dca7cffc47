import Table from 'cli-table3';
import pc from 'picocolors';
import { placements } from '../runner/claim.js';
import type { ClaimResult } from '../runner/run-claim.js';

/** The outcome of every claim in the terminal: a row for each placement, with the numbers that decide. */
export function scoreboard(claims: readonly ClaimResult[]): string {
  return claims.map(claimTable).join('\n');
}

function claimTable(claim: ClaimResult): string {
  const heading = pc.bold(`${claim.title} (${claim.name}): `) + (claim.verdict === 'as expected' ? pc.green('as expected') : pc.red('NOT AS EXPECTED'));
  if (claim.failure !== undefined) return [heading, pc.red(`  could not be put to the test: ${claim.failure}`), ''].join('\n');
  const table = new Table({
    head: ['placement', ...claim.columns.map(({ title }) => title), 'expected', ''],
    style: { head: [], border: [], compact: true },
    colWidths: [null, ...claim.columns.map(() => null), 44, null],
    wordWrap: true,
  });
  placements.forEach((placement, row) => {
    const expected = claim.expectations.filter((expectation) => expectation.placement === placement);
    const holds = expected.every((expectation) => expectation.holds);
    table.push([placement, ...claim.columns.map(({ values }) => values[row]!), expected.map(({ text }) => text).join('; '), holds ? pc.green('✓') : pc.red('✗')]);
  });
  return [heading, table.toString(), ...claim.unequal.map((reason) => pc.red(`  not comparable: ${reason}`)), ''].join('\n');
}
