import type { BalanceConfig, Subset } from '../../config/balance.js';
import type { ErrorCode } from '../../errors/catalogue.js';
import type { Exchange } from '../../http/exchange.js';
import type { HttpRequest } from '../../http/message.js';
import { balancer, type Balancer, type BalancerDependencies, type Chooser } from './balancer.js';
import { levelsOf, sharesOf, type Level } from './levels.js';
import type { Member } from './member.js';

/** A level as it stands: what it gets, and who chooses there. */
export interface Group extends Omit<Level<Member>, 'members'> {
  readonly healthy: number;
  readonly total: number;
  readonly load: number;
  readonly isPanic: boolean;
  /** Missing where there is nobody to choose. */
  readonly choose: Chooser<Member> | undefined;
}

/**
 * Chooses among the members of an upstream, or those of a subset.
 *
 * Who can be used, how traffic is divided between zones and priorities, and the choosers are worked out by `refresh`,
 * when health or membership have changed; `choose` looks none of it up. Nearly always there is one group, and
 * a choice is that group's.
 */
export class Selection {
  readonly #balancer: Balancer;
  #levels: readonly Level<Member>[] = [];
  #groups: readonly Group[] = [];
  /** The group that gets everything, if one does. */
  #only: Chooser<Member> | undefined;
  /** Members whose breaker wants to know whether they have recovered. */
  #probing: readonly Member[] = [];
  #refusal: ErrorCode = 'no_endpoint';
  #isPanic = false;

  constructor(
    private readonly subset: Subset | undefined,
    private readonly config: BalanceConfig,
    private readonly zone: string | undefined,
    private readonly dependencies: BalancerDependencies,
  ) {
    this.#balancer = balancer(config, dependencies);
  }

  /** Whether traffic is sent to members that are not healthy. */
  get isPanic(): boolean {
    return this.#isPanic;
  }

  /** Why nobody was chosen. */
  get refusal(): ErrorCode {
    return this.#refusal;
  }

  get groups(): readonly Group[] {
    return this.#groups;
  }

  setMembers(all: readonly Member[]): void {
    const { subset, config } = this;
    const chosen = subset === undefined ? all : all.filter((member) => member.belongsTo(subset));
    const members = chosen.length === 0 && config.subsetFallback === 'any' ? all : chosen;
    this.#levels = levelsOf(members, config.zoneAware ? this.zone : undefined);
  }

  /** Works out what follows from the members' health and weights. */
  refresh(): void {
    const levels = this.#levels.map((level) => ({ ...level, usable: level.members.filter(isUsable) }));
    const members = levels.flatMap((level) => level.members);
    this.#probing = members.filter(isProbing);
    this.#refusal = members.some(({ endpoint }) => endpoint.health.isHealthy) ? 'breaker_open' : 'no_endpoint';
    // With every breaker open it is not the few that must be spared but the upstream as a whole: that is what breakers are for.
    const isSpared = members.every(isCutOut);
    const shares = sharesOf(
      levels.map(({ usable, members: { length } }) => ({ healthy: usable.length, total: length })),
      { overprovisioning: this.config.overprovisioning, panicThreshold: isSpared ? 0 : this.config.panicThreshold / 100 },
    );
    this.#groups = levels.map(({ usable, members: all, priority, isOwnZone }, index) => {
      const { load, isPanic } = shares[index]!;
      const candidates = isPanic ? all : usable;
      return {
        priority, isOwnZone, healthy: usable.length, total: all.length, load, isPanic,
        choose: candidates.length === 0 ? undefined : this.#balancer.prepare(candidates, all),
      };
    });
    this.#isPanic = this.#groups.some(({ load, isPanic }) => isPanic && load > 0);
    this.#only = this.#groups.find(({ load }) => load === 1)?.choose;
  }

  /** The member that gets the request, not one that was tried while there is another; undefined when there is none at all. */
  choose(request: HttpRequest, exchange: Exchange): Member | undefined {
    const { tried } = exchange;
    // A breaker that wants to know whether its endpoint has recovered gets the next request: left to the
    // balancer, an endpoint that was slow before it was cut out would not be chosen for long.
    if (this.#probing.length > 0) {
      const probe = this.#probing.find(({ endpoint, name }) => endpoint.gate.accepts() && !tried.includes(name));
      if (probe !== undefined) return probe;
    }
    const choose = this.#only ?? this.#draw(request, exchange);
    return choose?.(request, exchange, tried) ?? this.#elsewhere(choose, request, exchange);
  }

  #draw(request: HttpRequest, exchange: Exchange): Chooser<Member> | undefined {
    if (this.#groups.length === 0) return undefined;
    let place = this.#balancer.spread?.(request, exchange) ?? this.dependencies.random();
    let last: Chooser<Member> | undefined;
    for (const { load, choose } of this.#groups) {
      if (load === 0) continue;
      last = choose;
      if (place < load) break;
      place -= load;
    }
    return last;
  }

  /** All that the request's own group has was tried: any other group will do, and in the end one that was tried. */
  #elsewhere(own: Chooser<Member> | undefined, request: HttpRequest, exchange: Exchange): Member | undefined {
    for (const { choose } of this.#groups) {
      const fresh = choose === own ? undefined : choose?.(request, exchange, exchange.tried);
      if (fresh !== undefined) return fresh;
    }
    return own?.(request, exchange, []) ?? this.#probing.find(({ endpoint }) => endpoint.gate.accepts());
  }
}

const isUsable = ({ endpoint }: Member): boolean => endpoint.health.isHealthy && endpoint.gate.state() === 'closed';
const isProbing = ({ endpoint }: Member): boolean => endpoint.health.isHealthy && endpoint.gate.state() === 'half-open';
const isCutOut = ({ endpoint }: Member): boolean => endpoint.gate.state() !== 'closed';
