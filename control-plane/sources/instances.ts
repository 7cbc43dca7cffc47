import type { WrittenEndpoint } from '../../shared/config/endpoints.js';

/** One running instance of a service. */
export interface Instance {
  readonly service: string;
  /** Tells it from the service's others. */
  readonly instance: string;
  readonly endpoint: WrittenEndpoint;
}

/** Instances of one service; beyond it registrations are refused, so that nobody who speaks for one service fills the registry. */
export const maxInstancesOfService = 5_000;

/** There is no room for another instance; those that are there may renew. The message is fit for clients. */
export class RegistryFull extends Error {
  override readonly name = 'RegistryFull';
}

/**
 * How sure a source is of a service's instances.
 *
 * - `known`: those that it names are all.
 * - `gathering`: it has not been there for long; others may be there that have not called yet. `gone`: addresses that have left since.
 * - `unknown`: it has never heard of any, so that none says nothing.
 * - `vacated`: there were some, and the last has said good-bye: none is meant.
 */
export type Standing = { readonly state: 'known' | 'unknown' | 'vacated' } | { readonly state: 'gathering'; readonly gone: readonly string[] };

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
  /** How far to believe `endpoints`; a source that has none is believed, but never that a service is empty. */
  readonly standing?: (service: string) => Standing;
  /** Registers an instance or renews its lease. Resolves when it is known; rejects with `RegistryFull`. */
  register(instance: Instance, ttlMs: number): Promise<void>;
  /** Resolves with whether it was there. */
  deregister(service: string, instance: string): Promise<boolean>;
  /** Runs when an instance came, changed or went; not at renewals. Returns the unsubscription. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}
