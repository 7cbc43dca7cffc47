import type { Lab } from '../lab/lab.js';
import type { ReportDocument } from '../report/document.js';
import { describeMachine } from '../report/machine.js';
import type { Claim } from './claim.js';
import type { Progress } from './progress.js';
import { runClaim, type ClaimResult } from './run-claim.js';
import { LabSession } from './session.js';

/**
 * Runs claims one after the other and gathers what a report needs. Leaves the lab as it started: no policy of a claim stays in force for
 * whoever tries it by hand afterwards.
 */
export async function runComparison(claims: readonly Claim[], lab: Lab, options: { readonly seed: number; readonly progress: Progress }): Promise<ReportDocument> {
  const { seed, progress } = options;
  const startedAt = new Date();
  const results: ClaimResult[] = [];
  for (const claim of claims) {
    const result = await runClaim(claim, lab, { seed, onVariant: ({ name }, placement, done, all) => progress.step(name, done, all, placement) });
    results.push(result);
    const all = (claim.rounds ?? 1) * result.variants.length;
    progress.step(claim.name, all, all, result.verdict);
  }
  await new LabSession(lab, seed).begin('none', []);
  return { schemaVersion: 1, startedAt: startedAt.toISOString(), durationMs: Date.now() - startedAt.getTime(), seed, mode: lab.mode, machine: describeMachine(), notes: lab.notes, claims: results };
}
