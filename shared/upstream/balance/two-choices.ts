import type { Balancer, BalancerDependencies, Candidate, Chooser } from './balancer.js';
import { unknownLatencyMs } from '../peak-ewma.js';
import { chooseFresh } from './pick-random.js';
import { haveEqualWeights, weightedDraw } from './weighted-draw.js';

/** What one more request would cost a candidate; `capacity` is its weight as a multiple of the mean. */
export type Cost = (candidate: Candidate, capacity: number, now: number) => number;

/**
 * The power of two choices (Mitzenmacher 2001): of two candidates drawn at random the one that costs less.
 * Nearly as even as asking all, without the herd that runs after a single best one.
 *
 * With equal weights two different candidates are drawn. With others each draw is by weight and may hit the same
 * one twice: so a candidate with the share w of all weight gets w of the traffic while costs are alike, w² when it is the
 * worst of all, and never more than 2w - w²: a canary of 5 % that answers fastest still gets no more than 10 %.
 */
export function twoChoices(cost: Cost, { random, clock }: BalancerDependencies): Balancer {
  function prepare<T extends Candidate>(usable: readonly T[]): Chooser<T> {
    const count = usable.length;
    if (count === 1) return ofOne(usable[0]!);
    return haveEqualWeights(usable) ? ofEquals(usable) : ofWeighted(usable);
  }

  function ofEquals<T extends Candidate>(usable: readonly T[]): Chooser<T> {
    const count = usable.length;
    return function twoChoices(request, exchange, tried) {
      if (tried.length > 0) return chooseFresh(prepare, usable, request, exchange, tried);
      const first = Math.floor(random() * count);
      let second = Math.floor(random() * (count - 1));
      if (second >= first) second++;
      const a = usable[first]!;
      const b = usable[second]!;
      const now = clock.now();
      return cost(b, 1, now) < cost(a, 1, now) ? b : a;
    };
  }

  function ofWeighted<T extends Candidate>(usable: readonly T[]): Chooser<T> {
    const draw = weightedDraw(usable, random);
    const mean = usable.reduce((sum, { weight }) => sum + weight, 0) / usable.length;
    const capacities = Float64Array.from(usable, ({ weight }) => weight / mean);
    return function twoWeightedChoices(request, exchange, tried) {
      if (tried.length > 0) return chooseFresh(prepare, usable, request, exchange, tried);
      const first = draw();
      const second = draw();
      const a = usable[first]!;
      if (second === first) return a;
      const b = usable[second]!;
      const now = clock.now();
      return cost(b, capacities[second]!, now) < cost(a, capacities[first]!, now) ? b : a;
    };
  }

  return { prepare };
}

/** The chooser of a single candidate. */
function ofOne<T extends Candidate>(only: T): Chooser<T> {
  return function theOnlyOne(_request, _exchange, tried) {
    return tried.length > 0 && tried.includes(only.name) ? undefined : only;
  };
}

/** Requests in flight, for the capacity that there is. */
export const loadOf: Cost = (candidate, capacity) => candidate.inFlight / capacity;

/**
 * Time until an answer, were the request sent now: those before it, and itself, at the usual latency. An endpoint
 * that nothing is known of gets one request at once, so that something is, and no second one until then.
 */
export const expectedLatency: Cost = ({ inFlight, latency }, capacity, now) => {
  if (!latency.isKnown) return inFlight === 0 ? 0 : unknownLatencyMs * (inFlight / capacity + 1);
  return Math.max(leastLatencyMs, latency.at(now)) * (inFlight / capacity + 1);
};

/** After a long silence all are as fast, and what is in flight still counts. */
const leastLatencyMs = 1e-3;
