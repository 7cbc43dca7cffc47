import { isDeepStrictEqual } from 'node:util';
import { addressOf, type WrittenEndpoint } from '../../shared/config/endpoints.js';
import type { Instance } from './instances.js';

/** A lease of one instance. */
export interface Lease extends Instance {
  readonly ttlMs: number;
  /** Presence time (ms) at which it ends, or has ended. */
  endsAt: number;
}

/** Addresses that left which are remembered for a service. */
const maxGone = 1_000;

/** The instances of one service: those whose leases run, and those whose leases have lapsed of late. */
export class ServiceInstances {
  readonly live = new Map<string, Lease>();
  /** Nobody said good-bye for them. They count again when nobody else is there, or when too many lapse at once. */
  readonly lapsed = new Map<string, Lease>();
  /** Whether the last to go said good-bye. */
  isVacated = false;
  #endpoints: readonly WrittenEndpoint[] | undefined;
  /** Addresses that left while the registry was gathering; undefined when it no longer is. */
  #gone: Set<string> | undefined;

  constructor(isGathering: boolean) {
    if (isGathering) this.#gone = new Set();
  }

  get size(): number {
    return this.live.size + this.lapsed.size;
  }

  has(instance: string): boolean {
    return this.live.has(instance) || this.lapsed.has(instance);
  }

  /** How many have lapsed no longer ago than so many of their leases. */
  lapsedOfLate(now: number, leases: number): number {
    let count = 0;
    for (const { endsAt, ttlMs } of this.lapsed.values()) if (endsAt + leases * ttlMs > now) count++;
    return count;
  }

  /** Returns to whether callers have to know. */
  register(lease: Lease): boolean {
    const { instance, endpoint } = lease;
    const before = this.live.get(instance);
    const address = addressOf(endpoint);
    if (before !== undefined && addressOf(before.endpoint) !== address) this.#leave(before);
    this.#gone?.delete(address);
    this.lapsed.delete(instance);
    this.live.set(instance, lease);
    this.isVacated = false;
    if (isDeepStrictEqual(before?.endpoint, endpoint)) return false;
    this.#endpoints = undefined;
    return true;
  }

  /** Returns whether it was there. */
  deregister(instance: string): boolean {
    const lease = this.live.get(instance) ?? this.lapsed.get(instance);
    if (lease === undefined) return false;
    this.live.delete(instance);
    this.lapsed.delete(instance);
    this.#leave(lease);
    this.isVacated = this.live.size === 0 && this.lapsed.size === 0;
    this.#endpoints = undefined;
    return true;
  }

  /** Takes note of leases that have ended; returns how many. */
  expire(now: number): number {
    let ended = 0;
    for (const [instance, lease] of this.live) {
      if (lease.endsAt > now) continue;
      this.live.delete(instance);
      this.lapsed.set(instance, lease);
      ended++;
    }
    if (ended > 0) this.#endpoints = undefined;
    return ended;
  }

  /** Forgets lapsed leases that nothing speaks for any more; returns whether any of them counted. */
  forget(now: number): boolean {
    // With nobody left, those that lapsed within one lease of the last one are what was there in the end.
    const last = this.live.size > 0 ? now : Math.max(...[...this.lapsed.values()].map(({ endsAt }) => endsAt));
    let isForgotten = false;
    for (const [instance, lease] of this.lapsed) {
      if (lease.endsAt + lease.ttlMs > last) continue;
      this.lapsed.delete(instance);
      this.#leave(lease);
      isForgotten = true;
    }
    if (isForgotten) this.#endpoints = undefined;
    return isForgotten && this.live.size === 0;
  }

  /** One for each address, in the order of addresses. */
  endpoints(isProtected: boolean): readonly WrittenEndpoint[] {
    if (this.#endpoints !== undefined) return this.#endpoints;
    const counted = isProtected || this.live.size === 0 ? [...this.lapsed.values(), ...this.live.values()] : [...this.live.values()];
    const byAddress = new Map(counted.map(({ endpoint }) => [addressOf(endpoint), endpoint]));
    return (this.#endpoints = [...byAddress.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint));
  }

  /** Addresses of instances that have left while the registry was gathering, and that nobody else has. */
  goneBeside(counted: readonly WrittenEndpoint[]): string[] {
    const present = new Set(counted.map(addressOf));
    return [...(this.#gone ?? []), ...[...this.lapsed.values()].map(({ endpoint }) => addressOf(endpoint))].filter((address) => !present.has(address)).sort();
  }

  /** The registry is no longer gathering. */
  settle(): void {
    this.#gone = undefined;
  }

  /** What counts has changed for a reason outside. */
  recount(): void {
    this.#endpoints = undefined;
  }

  #leave({ endpoint }: Lease): void {
    if (this.#gone !== undefined && this.#gone.size < maxGone) this.#gone.add(addressOf(endpoint));
  }
}
