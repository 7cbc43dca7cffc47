import type { Clock } from '../../clock/clock.js';
import type { BalanceConfig } from '../../config/policies.js';

/** What a balancer may know about an endpoint. */
export interface Candidate {
  readonly inFlight: number;
  readonly latency: { readonly isKnown: boolean; at(now: number): number };
}

/** Chooses one of at least one candidate. May keep state; must not keep candidates. */
export type Balancer = <T extends Candidate>(candidates: readonly T[]) => T;

export interface BalancerDependencies {
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly clock: Pick<Clock, 'now'>;
}

/** Takes each in turn. */
function roundRobin(): Balancer {
  let next = 0;
  return function roundRobin(candidates) {
    next = (next + 1) % candidates.length;
    return candidates[next]!;
  };
}

function random({ random }: BalancerDependencies): Balancer {
  return function pickRandom(candidates) {
    return candidates[Math.floor(random() * candidates.length)]!;
  };
}

/**
 * The power of two choices (Mitzenmacher 2001): of two candidates drawn at random the one that costs less.
 * Nearly as even as asking all, without the herd that runs after a single best one.
 */
function twoChoices(cost: (candidate: Candidate, now: number) => number, { random, clock }: BalancerDependencies): Balancer {
  return function twoChoices(candidates) {
    const count = candidates.length;
    if (count === 1) return candidates[0]!;
    const first = Math.floor(random() * count);
    let second = Math.floor(random() * (count - 1));
    if (second >= first) second++;
    const a = candidates[first]!;
    const b = candidates[second]!;
    const now = clock.now();
    return cost(b, now) < cost(a, now) ? b : a;
  };
}

const inFlight = (candidate: Candidate): number => candidate.inFlight;

/** What an endpoint is taken to need while nothing is known of it (ms; linkerd2-proxy's default). */
const unknownLatencyMs = 30;

/**
 * Time until an answer, were the request sent now: those before it, and itself, at the usual latency. An endpoint
 * that nothing is known of gets one request at once, so that something is, and no second one until then.
 */
function expectedLatency({ inFlight, latency }: Candidate, now: number): number {
  if (!latency.isKnown) return inFlight === 0 ? 0 : unknownLatencyMs * (inFlight + 1);
  return latency.at(now) * (inFlight + 1);
}

const algorithms: Readonly<Record<BalanceConfig['algorithm'], (dependencies: BalancerDependencies) => Balancer>> = {
  'peak-ewma': (dependencies) => twoChoices(expectedLatency, dependencies),
  'least-request': (dependencies) => twoChoices(inFlight, dependencies),
  'round-robin': roundRobin,
  random,
};

export function balancer(config: BalanceConfig, dependencies: BalancerDependencies): Balancer {
  return algorithms[config.algorithm](dependencies);
}
