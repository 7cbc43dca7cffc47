import type { WrittenEndpoint } from '../../shared/config/endpoints.js';

/** One running instance of a service. */
export interface Instance {
  readonly service: string;
  /** Tells it from the service's others. */
  readonly instance: string;
  readonly endpoint: WrittenEndpoint;
}

/**
 * Which instances of which service are there, by lease: one stays as long as it renews. Interchangeable: in this process, or in etcd.
 *
 * Leases that could not be renewed because the control plane was away are no sign of death, and never empty an upstream.
 */
export interface InstanceSource {
  /** Each with what is left of its lease (ms). */
  readonly instances: readonly (Instance & { readonly leaseMs: number })[];
  /** A service's instances, one for each address, in an order that does not depend on who renewed last. */
  readonly endpoints: (service: string) => readonly WrittenEndpoint[];
  /** Registers an instance or renews its lease. Resolves when it is known. */
  register(instance: Instance, ttlMs: number): Promise<void>;
  /** Resolves with whether it was there. */
  deregister(service: string, instance: string): Promise<boolean>;
  /** Runs when an instance came, changed or went; not at renewals. Returns the unsubscription. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}
