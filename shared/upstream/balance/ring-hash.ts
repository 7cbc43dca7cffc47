import type { HashConfig } from '../../config/balance.js';
import type { Balancer, BalancerDependencies, Candidate, Chooser } from './balancer.js';
import { hash32 } from './hash.js';
import { hashKey } from './hash-key.js';
import { Ring } from './ring.js';
import { expectedLatency, twoChoices } from './two-choices.js';

interface RingHashConfig {
  readonly hash: HashConfig;
  readonly boundedLoad: number | undefined;
}

const keySeed = 2;
/** Another than the ring's: a group of endpoints that gets a few keys must get them from all around its ring. */
const spreadSeed = 3;

/**
 * Sends equal keys to the same endpoint, in every proxy, as long as it is there.
 *
 * The ring holds all endpoints, so it is built only when they are exchanged; those that cannot be used are left out of a
 * copy. A retry takes whoever stands next on the ring, and so does, with `boundedLoad`, a request whose endpoint has more in
 * flight than that multiple of its share (Mirrokni, Thorup and Zadimoghaddam 2016; counting costs O(n) a
 * request). A request without a key goes where the default algorithm sends it.
 */
export function ringHash({ hash, boundedLoad }: RingHashConfig, dependencies: BalancerDependencies): Balancer {
  const keyOf = hashKey(hash);
  const withoutKey = twoChoices(expectedLatency, dependencies);
  const rings = new WeakMap<readonly Candidate[], Ring>();

  function ringOf(usable: readonly Candidate[], all: readonly Candidate[]): Ring {
    let ring = rings.get(all);
    if (ring === undefined) rings.set(all, (ring = Ring.of(all)));
    if (usable.length === all.length) return ring;
    const isUsable = new Set(usable);
    return ring.only((position) => isUsable.has(all[position]!));
  }

  function prepare<T extends Candidate>(usable: readonly T[], all: readonly T[]): Chooser<T> {
    const ring = ringOf(usable, all);
    const fallback = withoutKey.prepare(usable, all);
    const weight = usable.reduce((sum, candidate) => sum + candidate.weight, 0);
    const mayTakeMore = (candidate: T, bound: number): boolean => candidate.inFlight < Math.ceil((bound * candidate.weight) / weight);

    return function ringHash(request, exchange, tried) {
      const key = keyOf(request, exchange);
      if (key === undefined) return fallback(request, exchange, tried);
      if (tried.length > 0 && usable.every(({ name }) => tried.includes(name))) return undefined;
      const bound = boundedLoad === undefined ? Infinity : boundedLoad * (1 + usable.reduce((sum, { inFlight }) => sum + inFlight, 0));
      const start = ring.find(hash32(key, keySeed));
      let second: T | undefined;
      for (let step = 0; step < ring.size; step++) {
        const candidate = all[ring.at(start + step)]!;
        if (tried.length > 0 && tried.includes(candidate.name)) continue;
        if (boundedLoad === undefined || mayTakeMore(candidate, bound)) return candidate;
        second ??= candidate;
      }
      // Only where those with room were all tried.
      return second;
    };
  }

  return {
    prepare,
    spread(request, exchange) {
      const key = keyOf(request, exchange);
      return key === undefined ? dependencies.random() : hash32(key, spreadSeed) / 2 ** 32;
    },
  };
}
