import type { Balancer, BalancerDependencies, Candidate } from './balancer.js';
import { pickRandom } from './pick-random.js';
import { haveEqualWeights } from './weighted-draw.js';

/**
 * Takes each in turn, and more often what weighs more.
 *
 * Weights are served by earliest deadline first, as in Envoy: a candidate of weight w is due every 1/w, whoever is due first
 * is chosen and due again 1/w later. Its turns come evenly spread, not in a row, and a turn costs O(log n). Where the
 * turns begin is left to chance: a hundred proxies that hear of a change together would all begin with the same endpoint.
 * A retry takes nobody's turn, and is drawn by weight: of two endpoints, one that always fails would otherwise get every
 * first attempt, and of many the one behind it every retry.
 */
export function roundRobin({ random, clock }: BalancerDependencies): Balancer {
  const retries = pickRandom({ random, clock });
  return {
    prepare(usable, all) {
      const next = haveEqualWeights(usable) ? inTurn(usable, random) : byDeadline(usable, random);
      const elsewhere = retries.prepare(usable, all);
      return function roundRobin(request, exchange, tried) {
        return tried.length > 0 ? elsewhere(request, exchange, tried) : next();
      };
    },
  };
}

function inTurn<T extends Candidate>(usable: readonly T[], random: () => number): () => T {
  const count = usable.length;
  let next = Math.floor(random() * count);
  return () => {
    const candidate = usable[next]!;
    next = next + 1 === count ? 0 : next + 1;
    return candidate;
  };
}

function byDeadline<T extends Candidate>(usable: readonly T[], random: () => number): () => T {
  const count = usable.length;
  const due = Float64Array.from(usable, ({ weight }) => random() / weight);
  /** A binary heap of positions in `usable`, the earliest due at the top. */
  const heap = Uint32Array.from(usable, (_, index) => index).sort((a, b) => due[a]! - due[b]!);

  return () => {
    const first = heap[0]!;
    const candidate = usable[first]!;
    const at = (due[first] = due[first]! + 1 / candidate.weight);
    let place = 0;
    for (let child = 1; child < count; child = 2 * place + 1) {
      if (child + 1 < count && due[heap[child + 1]!]! < due[heap[child]!]!) child++;
      if (due[heap[child]!]! >= at) break;
      heap[place] = heap[child]!;
      place = child;
    }
    heap[place] = first;
    return candidate;
  };
}
