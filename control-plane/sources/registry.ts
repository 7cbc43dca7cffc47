import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '../../shared/clock/clock.js';
import { addressOf, type WrittenEndpoint } from '../../shared/config/endpoints.js';

export interface Instance {
  readonly service: string;
  readonly instance: string;
  readonly endpoint: WrittenEndpoint;
  /** Clock reading (ms) at which the lease ends. */
  readonly expiresAt: number;
}

/**
 * Which instances of which service are there, by lease.
 *
 * An instance stays as long as it renews. Leases that could not be renewed because this process was away are no
 * sign of death: `restore` puts instances of before back for a time of grace.
 */
export class Registry {
  readonly #instances = new Map<string, Instance>();
  readonly #listeners = new Set<() => void>();
  #timer: Timer | undefined;

  constructor(private readonly clock: Clock) {}

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  get instances(): Instance[] {
    return [...this.#instances.values()];
  }

  /** A service's instances, one for each address, in an order that does not depend on who renewed last. */
  readonly endpoints = (service: string): WrittenEndpoint[] => {
    const byAddress = new Map(this.instances.filter((instance) => instance.service === service).map(({ endpoint }) => [addressOf(endpoint), endpoint]));
    return [...byAddress.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
  };

  /** Registers an instance or renews its lease. */
  register(service: string, instance: string, endpoint: WrittenEndpoint, ttlMs: number): void {
    const key = `${service}/${instance}`;
    const before = this.#instances.get(key);
    this.#instances.set(key, { service, instance, endpoint, expiresAt: this.clock.now() + ttlMs });
    this.#schedule();
    if (!isDeepStrictEqual(before?.endpoint, endpoint)) this.#notify();
  }

  deregister(service: string, instance: string): boolean {
    const existed = this.#instances.delete(`${service}/${instance}`);
    if (existed) this.#notify();
    return existed;
  }

  restore(instances: readonly Omit<Instance, 'expiresAt'>[], graceMs: number): void {
    for (const { service, instance, endpoint } of instances) this.register(service, instance, endpoint, graceMs);
  }

  close(): void {
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer?.cancel();
    if (this.#instances.size === 0) return;
    const next = Math.min(...this.instances.map(({ expiresAt }) => expiresAt));
    this.#timer = this.clock.after(Math.max(1, next - this.clock.now()), () => this.#expire());
  }

  #expire(): void {
    const now = this.clock.now();
    const before = this.#instances.size;
    for (const [key, { expiresAt }] of this.#instances) if (expiresAt <= now) this.#instances.delete(key);
    this.#schedule();
    if (this.#instances.size < before) this.#notify();
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
