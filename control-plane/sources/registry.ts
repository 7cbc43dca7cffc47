import type { Clock } from '../../shared/clock/clock.js';
import type { WrittenEndpoint } from '../../shared/config/endpoints.js';
import { maxInstancesOfService, RegistryFull, type Instance, type InstanceSource, type Standing } from './instances.js';
import { PresenceClock } from './presence-clock.js';
import { ServiceInstances, type Lease } from './service-instances.js';

/*
 * The embedded registry, and what it makes of silence.
 *
 * An instance stays as long as it renews its lease, and goes when it says good-bye or when its lease has ended. But a lease also ends
 * when the *control plane* was away, or could not be reached, and then the worst that could be done is to believe it. Five rules:
 *
 * 1. Time counts only while this process is there (presence-clock.ts): a stopped process, or a wall clock that is set, ends no lease.
 * 2. An expiry never empties a service. When the last lease of a service ends, those that ended within one lease of it still count as
 *    its endpoints, until one registers or says good-bye: a caller loses nothing by trying an address that may be dead instead of none.
 *    They are in `endpoints`, but no more in `instances`.
 * 3. Many do not die at once. When more than `protectedShare` of all instances (and at least `protectedAtLeast`) have lapsed, and of those of the
 *    other services too when the one that lost most is left out, the network is what has died: all that lapsed count, until enough of them have
 *    called again, or others in their place (Eureka's self-preservation), or `protectedLeases` of their leases are over. What one service loses says
 *    nothing about the others: it may be a job that crashes again and again, or somebody with its token.
 * 4. After a start the registry is `gathering` for the grace: what it names is true, but it may not be all. Snapshots say so, and proxies add
 *    what they are told to what they have, take away what has left since, and drop nothing else. A registry that was remembered in a file
 *    starts with the instances of before, for the same time.
 * 5. A service of which nobody was ever heard is `unknown` for good: proxies keep the endpoints that they have for it. Only one whose last
 *    instance has said good-bye is `vacated`, and is emptied.
 */

/** How often leases are looked at (ms): an instance that died is out this much after the end of its lease at the latest. */
const beatMs = 100;
/** The longest time between two beats that counts (ms). */
const longestStepMs = 500;
const protectedShare = 0.5;
const protectedAtLeast = 3;
/** How many of its leases long a lapsed one speaks for that. */
const protectedLeases = 60;
/** Instances and services in all; beyond it registrations are refused. */
const maxInstances = 50_000;
const maxServices = 10_000;

interface RegistryOptions {
  /** Time after a start within which those who live have called (ms). 0: at once. Must be a third of the longest lease at least. */
  readonly graceMs?: number | undefined;
}

/** Which instances of which service are there, by lease: in this process. */
export class Registry implements InstanceSource {
  readonly #services = new Map<string, ServiceInstances>();
  readonly #listeners = new Set<() => void>();
  readonly #time: PresenceClock;
  readonly #graceMs: number;
  #isGathering: boolean;
  #isProtected = false;
  #size = 0;

  constructor(clock: Clock, { graceMs = 0 }: RegistryOptions = {}) {
    this.#time = new PresenceClock(clock, beatMs, longestStepMs, () => this.#sweep());
    this.#graceMs = graceMs;
    this.#isGathering = graceMs > 0;
    if (this.#isGathering) this.#time.start();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Whether it holds on to instances because too many of them went silent at once. */
  get isProtected(): boolean {
    return this.#isProtected;
  }

  /** Whether it was started so lately that not everybody can have called. */
  get isGathering(): boolean {
    return this.#isGathering;
  }

  /** Those with a lease; while they are protected also those without, of which nothing is left. */
  get instances(): (Instance & { readonly leaseMs: number })[] {
    const now = this.#time.now();
    return [...this.#services.values()].flatMap(({ live, lapsed }) =>
      [...live.values(), ...(this.#isProtected ? lapsed.values() : [])].map(({ service, instance, endpoint, endsAt }) => ({ service, instance, endpoint, leaseMs: Math.max(0, Math.round(endsAt - now)) })),
    );
  }

  readonly endpoints = (service: string): readonly WrittenEndpoint[] => this.#services.get(service)?.endpoints(this.#isProtected) ?? [];

  readonly standing = (service: string): Standing => {
    const known = this.#services.get(service);
    if (this.#isGathering) return { state: 'gathering', gone: known?.goneBeside(known.endpoints(this.#isProtected)) ?? [] };
    return { state: known === undefined ? 'unknown' : known.isVacated ? 'vacated' : 'known' };
  };

  register(instance: Instance, ttlMs: number): Promise<void> {
    const service = this.#services.get(instance.service);
    if (service?.has(instance.instance) !== true) {
      if (service !== undefined && service.size >= maxInstancesOfService) return Promise.reject(new RegistryFull(`There are ${service.size} instances of ${instance.service}; no more are taken.`));
      if (this.#size >= maxInstances || (service === undefined && this.#services.size >= maxServices)) return Promise.reject(new RegistryFull(`There are ${this.#size} instances of ${this.#services.size} services; no more are taken.`));
    }
    this.#time.start();
    if (this.#put(instance, ttlMs)) this.#changed();
    return Promise.resolve();
  }

  deregister(service: string, instance: string): Promise<boolean> {
    const known = this.#services.get(service);
    const existed = known?.deregister(instance) === true;
    if (existed) this.#changed();
    return Promise.resolve(existed);
  }

  /** Puts instances of before back, for as long as they need to call. */
  restore(instances: readonly Instance[], graceMs: number): void {
    if (instances.length === 0) return;
    this.#time.start();
    for (const instance of instances.slice(0, maxInstances)) this.#put(instance, graceMs);
    this.#changed();
  }

  close(): Promise<void> {
    this.#time.stop();
    return Promise.resolve();
  }

  #put({ service, instance, endpoint }: Instance, ttlMs: number): boolean {
    let known = this.#services.get(service);
    if (known === undefined) this.#services.set(service, (known = new ServiceInstances(this.#isGathering)));
    const lease: Lease = { service, instance, endpoint, ttlMs, endsAt: this.#time.now() + ttlMs };
    return known.register(lease);
  }

  #sweep(): void {
    const now = this.#time.now();
    if (this.#isGathering && now >= this.#graceMs) this.#endGathering();
    let changes = 0;
    for (const service of this.#services.values()) changes += service.expire(now);
    const wasProtected = this.#isProtected;
    this.#count();
    if (!this.#isProtected) for (const service of this.#services.values()) if (service.lapsed.size > 0 && service.forget(now)) changes++;
    if (changes > 0 || wasProtected !== this.#isProtected) this.#changed();
    if (this.#size === 0 && !this.#isGathering) this.#time.stop();
  }

  /** What is there, and whether it is believed. */
  #count(): void {
    const now = this.#time.now();
    let [size, judged, lapsed] = [0, 0, 0];
    // How far the service that lost most is above the share, and how many instances it has.
    let worst = { excess: 0, judged: 0 };
    for (const service of this.#services.values()) {
      size += service.size;
      const lost = service.lapsedOfLate(now, protectedLeases);
      const all = service.live.size + lost;
      lapsed += lost;
      judged += all;
      if (lost - protectedShare * all > worst.excess) worst = { excess: lost - protectedShare * all, judged: all };
    }
    this.#size = size;
    const excess = lapsed - protectedShare * judged;
    const isProtected = lapsed >= protectedAtLeast && excess > 0 && (judged === worst.judged || excess > worst.excess);
    if (isProtected === this.#isProtected) return;
    this.#isProtected = isProtected;
    for (const service of this.#services.values()) service.recount();
  }

  #endGathering(): void {
    this.#isGathering = false;
    for (const service of this.#services.values()) service.settle();
    this.#changed();
  }

  #changed(): void {
    this.#count();
    for (const listener of this.#listeners) listener();
  }
}
