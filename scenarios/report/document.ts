import type { ClaimResult } from '../runner/run-claim.js';

/** Raised when the shape changes. */
export const schemaVersion = 2;

/** Everything that a run of the comparison found: `results.json`. */
export interface ReportDocument {
  readonly schemaVersion: typeof schemaVersion;
  readonly startedAt: string;
  readonly durationMs: number;
  readonly seed: number;
  readonly mode: 'embedded' | 'compose';
  readonly machine: Machine;
  readonly notes: readonly string[];
  readonly claims: readonly ClaimResult[];
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly platform: string;
  readonly node: string;
}
