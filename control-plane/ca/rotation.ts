import type { AuthorityState, CaState } from './state.js';

/*
 * How one authority follows another, with nobody left behind.
 *
 *     published  ->  signing  ->  retired  ->  gone
 *
 * published: its root is in the trust bundle, and signs nothing. Proxies fetch the bundle every `bundleRefresh`; the stage lasts for the
 *     overlap, so that whoever will meet a certificate of the new root knows that root by then.
 * signing:   one at a time. The moment a published one starts to sign, the one before retires.
 * retired:   its root stays in the bundle until the last certificate that it signed has expired.
 * gone:      out of the bundle, and its key is forgotten.
 *
 * The first authority of all signs at once: there is nobody yet who would not know it. So does a new intermediate under the root that
 * the bundle has already. Each step makes a new state of the old one; a step is taken when its state is on disk. A crash between two steps
 * costs nothing, since all of them go by the wall clock and by what is on disk: whoever comes next takes the step that is due.
 */

/** Adds an authority. */
export function publish(state: CaState, authority: Pick<AuthorityState, 'id' | 'source' | 'chain' | 'root' | 'key'>, { now, overlapMs, longestLifeMs }: { now: number; overlapMs: number; longestLifeMs: number }): CaState {
  const isKnownRoot = state.authorities.some(({ root }) => root === authority.root);
  const signsAtOnce = isKnownRoot || state.authorities.length === 0;
  // One that comes back from retirement goes through the stages again.
  const others = state.authorities.filter(({ id }) => id !== authority.id);
  const added: AuthorityState = { ...authority, stage: 'published', publishedAt: now, signsFrom: signsAtOnce ? now : now + overlapMs, longestLifeMs };
  return { ...state, sequence: isKnownRoot ? state.sequence : state.sequence + 1, authorities: [...others, added] };
}

/** Takes the steps that are due; returns the same state if none is. `skewMs`: how far behind a clock may be that still takes a certificate for valid. */
export function advance(state: CaState, now: number, skewMs: number): CaState {
  const next = state.authorities.findLast(({ stage, signsFrom }) => stage === 'published' && signsFrom <= now);
  const isOver = ({ stage, leavesAt }: AuthorityState): boolean => stage === 'retired' && leavesAt! <= now;
  if (next === undefined && !state.authorities.some(isOver)) return state;
  const authorities = state.authorities
    .filter((authority) => !isOver(authority))
    .map((authority): AuthorityState => {
      if (authority === next) return { ...authority, stage: 'signing', signsFrom: now };
      if (next === undefined || authority.stage === 'retired' || authority.publishedAt > next.publishedAt) return authority;
      return { ...authority, stage: 'retired', leavesAt: now + authority.longestLifeMs + skewMs };
    });
  const changed = rootsOf(authorities).length !== rootsOf(state.authorities).length;
  return { ...state, sequence: changed ? state.sequence + 1 : state.sequence, authorities };
}

/** Notes that certificates live longer from now on, before the first of them is made. */
export function lengthen(state: CaState, longestLifeMs: number): CaState {
  if (state.authorities.every((authority) => authority.stage === 'retired' || authority.longestLifeMs >= longestLifeMs)) return state;
  return { ...state, authorities: state.authorities.map((authority) => (authority.stage === 'retired' ? authority : { ...authority, longestLifeMs: Math.max(authority.longestLifeMs, longestLifeMs) })) };
}

/** When the next step is due (wall clock, ms); Infinity if none is in sight. */
export function nextStepAt({ authorities }: CaState): number {
  return Math.min(...authorities.map(({ stage, signsFrom, leavesAt }) => (stage === 'published' ? signsFrom : (leavesAt ?? Infinity))));
}

/** The roots, each once, oldest first. */
export function rootsOf(authorities: readonly AuthorityState[]): string[] {
  return [...new Set(authorities.map(({ root }) => root))];
}
