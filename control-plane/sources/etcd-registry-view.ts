import { isDeepStrictEqual } from 'node:util';
import { addressOf, type WrittenEndpoint } from '../../shared/config/endpoints.js';
import type { Instance } from './instances.js';

/** What one control plane knows of an instance. */
export interface Known extends Instance {
  readonly ttlMs: number;
  /** etcd's revision of its record. */
  readonly revision: number;
  /** Its lease; undefined when that has ended. */
  lease: string | undefined;
  /** Clock reading (ms) of the last renewal that went through this control plane. */
  renewedAt: number | undefined;
  /** Clock reading (ms) until which it may come back; undefined while it has a lease. */
  graceUntil: number | undefined;
  /** Clock reading (ms) at which its lease ended, while it is not yet decided what that means. */
  suspectedAt: number | undefined;
}

/** Instances by key, and by service. */
export class EtcdRegistryView {
  readonly #known = new Map<string, Known>();
  readonly #services = new Map<string, Map<string, Known>>();
  readonly #endpoints = new Map<string, readonly WrittenEndpoint[]>();

  get all(): IterableIterator<Known> {
    return this.#known.values();
  }

  get size(): number {
    return this.#known.size;
  }

  sizeOf(service: string): number {
    return this.#services.get(service)?.size ?? 0;
  }

  get(key: string): Known | undefined {
    return this.#known.get(key);
  }

  /** Another instance of the same service that has a lease. */
  leasedBeside(one: Known): Known | undefined {
    for (const other of this.#services.get(one.service)?.values() ?? []) if (other !== one && other.lease !== undefined) return other;
    return undefined;
  }

  has(service: string): boolean {
    return this.#services.has(service);
  }

  /** Returns whether callers would see a difference. */
  put(key: string, known: Known): boolean {
    const before = this.#known.get(key);
    this.#known.set(key, known);
    let service = this.#services.get(known.service);
    if (service === undefined) this.#services.set(known.service, (service = new Map<string, Known>()));
    service.set(key, known);
    const differs = before === undefined || !isDeepStrictEqual(before.endpoint, known.endpoint);
    if (differs) this.#endpoints.delete(known.service);
    return differs;
  }

  delete(key: string): Known | undefined {
    const known = this.#known.get(key);
    if (known === undefined) return undefined;
    this.#known.delete(key);
    this.#endpoints.delete(known.service);
    const service = this.#services.get(known.service)!;
    service.delete(key);
    if (service.size === 0) this.#services.delete(known.service);
    return known;
  }

  /** One for each address, in the order of the addresses. Made once for each change. */
  endpoints(service: string): readonly WrittenEndpoint[] {
    const made = this.#endpoints.get(service);
    if (made !== undefined) return made;
    const byAddress = new Map([...(this.#services.get(service)?.values() ?? [])].map(({ endpoint }) => [addressOf(endpoint), endpoint]));
    const endpoints = [...byAddress.entries()].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, endpoint]) => endpoint);
    if (endpoints.length > 0) this.#endpoints.set(service, endpoints);
    return endpoints;
  }
}

/** Whether it is there as far as anybody can tell: it has a lease, or could not have renewed it. */
export function isCounted({ lease, graceUntil }: Known): boolean {
  return lease !== undefined || graceUntil !== undefined;
}
