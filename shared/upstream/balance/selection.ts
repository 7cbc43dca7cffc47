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
  /** Whether health is ignored here. */
  readonly isPanic: boolean;
  /** Missing where there is nobody to choose. */
  readonly choose: Chooser<Member> | undefined;
  /** The same among those alone that health and breaker allow. */
  readonly chooseHealthy: Chooser<Member> | undefined;
}

/**
 * Chooses among the members of an upstream, or those of a subset.
 *
 * Two things speak about a member. *Health* (checks, outlier detection) is an opinion from outside, and in panic it is ignored. Its
 * *breaker* has counted what requests met there, and is never passed by: open, a member gets nothing, and half-open one
 * request, its probe. So whatever state all are in, the next request after a breaker's reset time finds out whether the
 * upstream is back, and what has recovered carries traffic while the rest is still spared.
 *
 * 1. First attempts are the probes of half-open members; those that health objects to are probed in panic only.
 * 2. Other first attempts are chosen among members that are healthy and closed; in panic among all that are closed.
 * 3. A retry believes both: it goes to one not tried that is healthy and closed, before in panic any other closed one, before a
 *    probe, before one that was tried. Else a request might spend all its attempts on finding out who has recovered. A hedge never goes where the request is already.
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
  #only: Group | undefined;
  /** Members whose breaker wants to know whether they have recovered, the likeliest first. */
  #probing: readonly Member[] = [];
  /** Members that are chosen from, of all groups. */
  #candidates: readonly Member[] = [];
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
    const levels = this.#levels.map((level) => {
      const closed = level.members.filter(isClosed);
      return { ...level, closed, usable: closed.filter(isHealthy) };
    });
    const shares = sharesOf(
      levels.map(({ usable, closed, members }) => ({ healthy: usable.length, closed: closed.length, total: members.length })),
      { overprovisioning: this.config.overprovisioning, panicThreshold: this.config.panicThreshold / 100 },
    );
    this.#groups = levels.map(({ usable, closed, members: all, priority, isOwnZone }, index) => {
      const { load, isPanic } = shares[index]!;
      const chooseHealthy = this.#chooser(usable, all);
      return {
        priority, isOwnZone, healthy: usable.length, total: all.length, load,
        isPanic: isPanic && !all.every(isHealthy),
        choose: isPanic && closed.length > usable.length ? this.#chooser(closed, all) : chooseHealthy,
        chooseHealthy,
      };
    });
    this.#candidates = levels.flatMap(({ usable, closed }, index) => (shares[index]!.isPanic ? closed : usable));
    this.#isPanic = this.#groups.some(({ load, isPanic }) => isPanic && load > 0);
    this.#only = this.#groups.find(({ load }) => load === 1);
    // Those that nothing but their breaker keeps from being used.
    const held = levels.flatMap(({ members }, index) => members.filter((member) => !isClosed(member) && (isHealthy(member) || shares[index]!.isPanic)));
    this.#probing = held.filter(({ endpoint }) => endpoint.gate.state() === 'half-open').sort((a, b) => Number(isHealthy(b)) - Number(isHealthy(a)));
    this.#refusal = held.length > 0 ? 'breaker_open' : 'no_endpoint';
  }

  /** The member that gets the request, not one that was tried while there is another; undefined when there is none at all. */
  choose(request: HttpRequest, exchange: Exchange): Member | undefined {
    if (exchange.tried.length > 0) return this.#chooseAgain(request, exchange);
    // A breaker that wants to know whether its endpoint has recovered gets the next request: left to the
    // balancer, an endpoint that was slow before it was cut out would not be chosen for long.
    if (this.#probing.length > 0) {
      const probe = this.#probe(exchange.tried, request.body.whole !== undefined);
      if (probe !== undefined) return probe;
    }
    return (this.#only ?? this.#draw(request, exchange))?.choose?.(request, exchange, exchange.tried);
  }

  /** Whether there is a member that was not tried, for one more attempt at a request that is whole. */
  hasAnother({ tried }: Exchange): boolean {
    return this.#candidates.some(({ name }) => !tried.includes(name)) || this.#probe(tried, true) !== undefined;
  }

  #chooser(candidates: readonly Member[], all: readonly Member[]): Chooser<Member> | undefined {
    return candidates.length === 0 ? undefined : this.#balancer.prepare(candidates, all);
  }

  #draw(request: HttpRequest, exchange: Exchange): Group | undefined {
    if (this.#groups.length === 0) return undefined;
    let place = this.#balancer.spread?.(request, exchange) ?? this.dependencies.random();
    let last: Group | undefined;
    for (const group of this.#groups) {
      if (group.load === 0) continue;
      last = group;
      if (place < group.load) break;
      place -= group.load;
    }
    return last;
  }

  /** For a retry: the request's own group first, then any other; in the end one that was tried. A hedge has no use for that: it is there, and slow. */
  #chooseAgain(request: HttpRequest, exchange: Exchange): Member | undefined {
    const { tried } = exchange;
    const isWhole = request.body.whole !== undefined;
    const own = this.#only ?? this.#draw(request, exchange);
    const fresh = (by: 'chooseHealthy' | 'choose'): Member | undefined => {
      let member = own?.[by]?.(request, exchange, tried);
      for (const group of this.#groups) member ??= group === own ? undefined : group[by]?.(request, exchange, tried);
      return member;
    };
    const another = fresh('chooseHealthy') ?? fresh('choose') ?? this.#probe(tried, isWhole);
    if (another !== undefined || request.isHedge === true) return another;
    return own?.choose?.(request, exchange, []) ?? this.#probe([], isWhole);
  }

  #probe(tried: readonly string[], isWhole: boolean): Member | undefined {
    return this.#probing.find(({ endpoint, name }) => endpoint.gate.accepts(isWhole) && !tried.includes(name));
  }
}

const isHealthy = ({ endpoint }: Member): boolean => endpoint.health.isHealthy;
const isClosed = ({ endpoint }: Member): boolean => endpoint.gate.state() === 'closed';
