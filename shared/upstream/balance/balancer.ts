import type { Clock } from '../../clock/clock.js';
import type { BalanceConfig } from '../../config/balance.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest } from '../../http/message.js';
import { pickRandom } from './pick-random.js';
import { ringHash } from './ring-hash.js';
import { roundRobin } from './round-robin.js';
import { expectedLatency, loadOf, twoChoices } from './two-choices.js';

/** What a balancer may know about an endpoint. */
export interface Candidate {
  readonly name: string;
  /** Share of the traffic, relative to the other candidates; above 0. */
  readonly weight: number;
  readonly inFlight: number;
  readonly latency: { readonly isKnown: boolean; at(now: number): number };
}

/** Chooses one of the candidates it was made for, never one of `tried`: undefined where there is no other. */
export type Chooser<T> = (request: HttpRequest, exchange: Exchange, tried: readonly string[]) => T | undefined;

/**
 * One way of choosing. What can be worked out before a request comes is worked out by `prepare`, which is called again
 * whenever candidates or their weights have changed; so a chooser may keep whatever it likes of its own candidates.
 */
export interface Balancer {
  /** Makes a chooser for `usable`, at least one, out of `all`. The array `all` is the same one until endpoints are exchanged. */
  prepare<T extends Candidate>(usable: readonly T[], all: readonly T[]): Chooser<T>;
  /** Where in [0, 1) a request falls when traffic is divided between groups of endpoints; default: anywhere. */
  readonly spread?: (request: HttpRequest, exchange: Exchange) => number;
}

export interface BalancerDependencies {
  /** Uniform in [0, 1). */
  readonly random: () => number;
  readonly clock: Pick<Clock, 'now'>;
}

const algorithms: Readonly<Record<BalanceConfig['algorithm'], (config: BalanceConfig, dependencies: BalancerDependencies) => Balancer>> = {
  'peak-ewma': (_config, dependencies) => twoChoices(expectedLatency, dependencies),
  'least-request': (_config, dependencies) => twoChoices(loadOf, dependencies),
  'round-robin': (_config, dependencies) => roundRobin(dependencies),
  random: (_config, dependencies) => pickRandom(dependencies),
  // That there is something to hash was checked with the rest of the configuration.
  'ring-hash': ({ hash, boundedLoad }, dependencies) => ringHash({ hash: hash!, boundedLoad }, dependencies),
};

export function balancer(config: BalanceConfig, dependencies: BalancerDependencies): Balancer {
  return algorithms[config.algorithm](config, dependencies);
}
