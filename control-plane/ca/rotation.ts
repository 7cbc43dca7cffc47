import type { AuthorityState, CaState } from './state.js';

/*
 * How one authority follows another, with nobody left behind.
 *
 *     published  ->  signing  ->  retired  ->  gone
 *
 * published: its root is in the trust bundle, and signs nothing. Proxies fetch the bundle every `bundleRefresh`; the stage lasts for the
 *     overlap, so that whoever will meet a certificate of the new root knows that root by then.
 * signing:   one at a time. The moment a published one starts to sign, all that came before it retire. Who came before whom is the order in the
 *     state: the wall clock may have been set in between.
 * retired:   its root stays in the bundle until the last certificate that it signed has expired.
 * gone:      out of the bundle, and its key is forgotten.
 *
 * The first authority of all signs at once: there is nobody yet who would not know it. So does a new intermediate under the root that
 * the bundle has already, and whichever is there when the one that signs has itself expired: until then nobody gets a certificate, and those
 * who wait for one learn the root with it. Each step makes a new state of the old one; a step is taken when its state is on disk. A crash between two steps
 * costs nothing, since all of them go by the wall clock and by what is on disk: whoever comes next takes the step that is due.
 */

/** Adds an authority. */
export function publish(state: CaState, authority: Pick<AuthorityState, 'id' | 'source' | 'chain' | 'root' | 'key'>, { now, overlapMs, longestLifeMs }: { now: number; overlapMs: number; longestLifeMs: number }): CaState {
  const isKnownRoot = state.authorities.some(({ root }) => root === authority.root);
  // One that comes back from retirement goes through the stages again.
  const others = state.authorities.filter(({ id }) => id !== authority.id);
  const added: AuthorityState = { ...authority, stage: 'published', publishedAt: now, signsFrom: isKnownRoot ? now : now + overlapMs, longestLifeMs };
  return { ...state, sequence: isKnownRoot ? state.sequence : state.sequence + 1, authorities: [...others, added] };
}

/** Takes the steps that are due; returns the same state if none is. `skewMs`: how far behind a clock may be that still takes a certificate for valid. */
export function advance(state: CaState, { now, skewMs, hasEnded }: { now: number; skewMs: number; hasEnded: (id: string) => boolean }): CaState {
  const isSigned = state.authorities.some(({ id, stage }) => stage === 'signing' && !hasEnded(id));
  const next = state.authorities.findLastIndex(({ stage, signsFrom }) => stage === 'published' && (signsFrom <= now || !isSigned));
  // A state of before may have two that sign: the later one does.
  const signer = next === -1 ? state.authorities.findLastIndex(({ stage }) => stage === 'signing') : next;
  const steps = state.authorities.map((authority, index): AuthorityState | undefined => {
    const { stage, leavesAt, longestLifeMs } = authority;
    if (stage === 'retired') return leavesAt! <= now ? undefined : authority;
    if (index === next) return { ...authority, stage: 'signing', signsFrom: now };
    return (stage === 'signing' && index !== signer) || index < next ? { ...authority, stage: 'retired', leavesAt: now + longestLifeMs + skewMs } : authority;
  });
  if (steps.every((authority, index) => authority === state.authorities[index])) return state;
  const authorities = steps.filter((authority) => authority !== undefined);
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
