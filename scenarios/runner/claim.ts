import type { Policy } from '../../control-plane/model/resources.js';
import type { LoadResult, LoadSpec } from '../load/spec.js';
import type { UnitCost } from '../measure/usage.js';
import type { LabSession } from './session.js';

export const placements = ['none', 'ambassador', 'sidecar', 'both'] as const;
export type Placement = (typeof placements)[number];

/** What a variant came to: numbers by name, which expectations and sentences are computed from. */
export type Facts = Readonly<Record<string, number>>;

/** A policy without its placement, which is what a variant adds. Targets name services; both groups are meant. */
export interface ClaimPolicy {
  readonly name: string;
  readonly services: readonly string[];
  readonly spec: Policy['spec'];
}

export interface VariantRun {
  readonly facts: Facts;
  /** Loads that were run, by name, for the report. */
  readonly loads: Readonly<Record<string, LoadResult>>;
}

/** What a variant did besides its placement; equal for all variants of a claim, or they are not compared. */
export interface Parity {
  readonly loads: readonly Pick<LoadSpec, 'durationMs' | 'warmupMs' | 'seed'>[];
  readonly rates: readonly number[];
  readonly policies: string;
  readonly version: string;
  readonly node: string;
}

export interface VariantResult extends VariantRun {
  readonly placement: Placement;
  /** What each process used over the whole variant, with warm-ups and what else the claim did. */
  readonly costs: readonly UnitCost[];
  readonly parity: Parity;
}

export type Results = Readonly<Record<Placement, VariantResult>>;

/** An outcome that was written down before the run. */
interface Expectation {
  readonly placement: Placement;
  /** In words, as expected: "no forged token reaches an application". */
  readonly text: string;
  readonly holds: (facts: Facts, all: Readonly<Record<Placement, Facts>>) => boolean;
  /** The numbers that decide, for the reader. */
  readonly measured: (facts: Facts) => string;
}

/** A proposition about placement, and how it is put to the test. */
export interface Claim {
  readonly name: string;
  readonly title: string;
  /** What is claimed and why it matters, in a few sentences. */
  readonly statement: string;
  /** Which of the two readings of "ambassador" it shows. */
  readonly reading: string;
  readonly policies: (session: LabSession) => readonly ClaimPolicy[];
  /** The zone of each instance, by its id; without it, all are in the zone of the proxies. */
  readonly zones?: Readonly<Record<string, string>>;
  /** Applications that every variant uses; by default those with sidecars where the placement has sidecars, and the bare ones where not. */
  readonly group?: 'bare' | 'meshed';
  /** Rounds, the placements in turn in each; facts are medians over them. Default 1. */
  readonly rounds?: number;
  readonly run: (session: LabSession, placement: Placement) => Promise<VariantRun>;
  readonly expectations: readonly Expectation[];
  /** The deciding numbers for the scoreboard, by column. */
  readonly columns: readonly { readonly title: string; readonly value: (facts: Facts) => string }[];
  /** Sentences computed from the run. */
  readonly sentences: (all: Readonly<Record<Placement, Facts>>) => readonly string[];
  /** Charts for the report. */
  readonly charts: readonly ClaimChart[];
}

type ClaimChart =
  | { readonly kind: 'bars'; readonly title: string; readonly unit: string; readonly series: readonly { readonly label: string; readonly fact: string }[] }
  | { readonly kind: 'timeline'; readonly title: string; readonly load: string };
