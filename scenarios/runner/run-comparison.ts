import type { Lab } from '../lab/lab.js';
import { schemaVersion, type ReportDocument } from '../report/document.js';
import { describeMachine } from '../report/machine.js';
import { placements, type Claim } from './claim.js';
import type { Progress } from './progress.js';
import { failedClaim, reasonOf, runClaim, type ClaimResult } from './run-claim.js';
import { LabSession } from './session.js';

/**
 * Runs claims one after the other and gathers what a report needs. One that throws is a claim that is not as expected, and the others are run all the same. Leaves the lab as it started: no policy of a claim stays in force for
 * whoever tries it by hand afterwards.
 */
export async function runComparison(claims: readonly Claim[], lab: Lab, options: { readonly seed: number; readonly progress: Progress }): Promise<ReportDocument> {
  const { seed, progress } = options;
  const startedAt = new Date();
  const results: ClaimResult[] = [];
  for (const claim of claims) {
    const result = await runClaim(claim, lab, { seed, onVariant: ({ name }, placement, done, all) => progress.step(name, done, all, placement) }).catch((error: unknown) => failedClaim(claim, error));
    results.push(result);
    const all = (claim.rounds ?? 1) * placements.length;
    progress.step(claim.name, all, all, result.failure ?? result.verdict);
  }
  const notes = [...lab.notes];
  await new LabSession(lab, seed).begin('none', []).catch((error: unknown) => notes.push(`The policies of the last claim are still in force: ${reasonOf(error)}.`));
  return { schemaVersion, startedAt: startedAt.toISOString(), durationMs: Date.now() - startedAt.getTime(), seed, mode: lab.mode, machine: describeMachine(), notes, claims: results };
}
