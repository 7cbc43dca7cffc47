import type { Lab } from '../lab/lab.js';
import { costBetween, readUsage } from '../measure/usage.js';
import { placements, type Claim, type Facts, type Parity, type Placement, type VariantResult, type VariantRun } from './claim.js';
import { LabSession } from './session.js';

interface CheckedExpectation {
  readonly placement: Placement;
  readonly text: string;
  readonly measured: string;
  readonly holds: boolean;
}

export interface ClaimResult {
  readonly name: string;
  readonly title: string;
  readonly statement: string;
  readonly reading: string;
  /** Facts are medians over them; loads and costs are those of the last. */
  readonly rounds: number;
  readonly variants: readonly VariantResult[];
  readonly expectations: readonly CheckedExpectation[];
  readonly sentences: readonly string[];
  readonly charts: Claim['charts'];
  readonly columns: readonly { readonly title: string; readonly values: readonly string[] }[];
  /** Why the variants cannot be compared, if they cannot. */
  readonly unequal: readonly string[];
  /** Why it could not be put to the test; there are no variants then. */
  readonly failure?: string;
  readonly verdict: 'as expected' | 'not as expected';
}

export interface RunOptions {
  readonly seed: number;
  readonly onVariant: (claim: Claim, placement: Placement, done: number, all: number) => void;
}

/** Puts a claim to the test under every placement, one after the other, and checks what was expected. */
export async function runClaim(claim: Claim, lab: Lab, { seed, onVariant }: RunOptions): Promise<ClaimResult> {
  const rounds = claim.rounds ?? 1;
  const runs = new Map<Placement, VariantResult[]>(placements.map((placement) => [placement, []]));
  let done = 0;
  for (let round = 0; round < rounds; round++) {
    for (const placement of placements) {
      onVariant(claim, placement, done++, rounds * placements.length);
      runs.get(placement)!.push(await runVariant(claim, lab, placement, seed));
    }
  }
  const variants = placements.map((placement) => combine(runs.get(placement)!));
  const facts = Object.fromEntries(variants.map((variant) => [variant.placement, variant.facts])) as Record<Placement, Facts>;
  const unequal = differences(variants);
  const expectations = claim.expectations.map(({ placement, text, measured, holds }) => ({
    placement, text, measured: measured(facts[placement]), holds: holds(facts[placement], facts),
  }));
  return {
    name: claim.name,
    title: claim.title,
    statement: claim.statement,
    reading: claim.reading,
    rounds,
    variants,
    expectations,
    sentences: claim.sentences(facts),
    charts: claim.charts,
    columns: claim.columns.map(({ title, value }) => ({ title, values: placements.map((placement) => value(facts[placement])) })),
    unequal,
    verdict: unequal.length === 0 && expectations.every(({ holds }) => holds) ? 'as expected' : 'not as expected',
  };
}

/** What becomes of a claim that threw. */
export function failedClaim({ name, title, statement, reading, rounds = 1 }: Claim, error: unknown): ClaimResult {
  return { name, title, statement, reading, rounds, variants: [], expectations: [], sentences: [], charts: [], columns: [], unequal: [], failure: reasonOf(error), verdict: 'not as expected' };
}

async function runVariant(claim: Claim, lab: Lab, placement: Placement, seed: number): Promise<VariantResult> {
  const session = new LabSession(lab, seed);
  await session.clearFaults();
  await session.begin(placement, claim.policies(session), { zones: claim.zones, group: claim.group });
  const before = await readUsage(lab);
  let run: VariantRun;
  try {
    run = await claim.run(session, placement);
  } finally {
    await session.end();
  }
  const costs = costBetween(lab, before, await readUsage(lab));
  const parity: Parity = {
    loads: session.sent.map(({ durationMs, warmupMs, seed: used }) => ({ durationMs, warmupMs, seed: used })),
    rates: session.sent.flatMap(({ classes }) => classes.map(({ rate }) => rate)),
    policies: JSON.stringify(session.used),
    version: process.env['npm_package_version'] ?? '',
    node: process.version,
  };
  return { placement, ...run, costs, parity };
}

/** What an error says; that of `fetch` leaves it to its cause. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

/** Rounds of one placement as one: the median of each fact, the loads of the last round. */
function combine(rounds: readonly VariantResult[]): VariantResult {
  const last = rounds.at(-1)!;
  const facts = Object.fromEntries(Object.keys(last.facts).map((name) => [name, median(rounds.map((round) => round.facts[name]!))]));
  return { ...last, facts };
}

function median(values: number[]): number {
  const sorted = values.slice().sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** Variants that did not do the same must not be compared. */
function differences(variants: readonly VariantResult[]): string[] {
  const [first, ...others] = variants.map(({ parity, placement }) => ({ placement, parity: parity as unknown as Readonly<Record<string, unknown>> }));
  return others.flatMap(({ placement, parity }) =>
    Object.keys(parity)
      .filter((key) => JSON.stringify(parity[key]) !== JSON.stringify(first!.parity[key]))
      .map((key) => `${placement} and ${first!.placement} differ in ${key}`),
  );
}
