import { sliceMs, type LoadResult, type Slice } from './spec.js';
import type { RunningLoad } from './load.js';

/** The slices that lie wholly between two times by the clock of `performance.now()`. */
export function slicesBetween({ begunAt }: Pick<RunningLoad, 'begunAt'>, { slices }: Pick<LoadResult, 'slices'>, from: number, to: number): Slice[] {
  return slices.filter(({ atMs }) => begunAt + atMs >= from && begunAt + atMs + sliceMs <= to);
}

/** The share of what was offered that was not answered well; 0 of nothing. */
export function failedShare(slices: readonly Slice[]): number {
  const offered = slices.reduce((sum, slice) => sum + slice.offered, 0);
  return offered === 0 ? 0 : slices.reduce((sum, slice) => sum + slice.failed, 0) / offered;
}
