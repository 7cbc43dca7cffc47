import type { Clock, Timer } from '../../shared/clock/clock.js';

export interface Instance {
  readonly service: string;
  readonly instance: string;
  readonly address: string;
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

  /** Addresses of a service's instances, in an order that does not depend on who renewed last. */
  readonly addresses = (service: string): string[] => {
    const addresses = this.instances.filter((instance) => instance.service === service).map(({ address }) => address);
    return [...new Set(addresses)].sort();
  };

  /** Registers an instance or renews its lease. */
  register(service: string, instance: string, address: string, ttlMs: number): void {
    const key = `${service}/${instance}`;
    const before = this.#instances.get(key);
    this.#instances.set(key, { service, instance, address, expiresAt: this.clock.now() + ttlMs });
    this.#schedule();
    if (before?.address !== address) this.#notify();
  }

  deregister(service: string, instance: string): boolean {
    const existed = this.#instances.delete(`${service}/${instance}`);
    if (existed) this.#notify();
    return existed;
  }

  restore(instances: readonly Omit<Instance, 'expiresAt'>[], graceMs: number): void {
    for (const { service, instance, address } of instances) this.register(service, instance, address, graceMs);
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
