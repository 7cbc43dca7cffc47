import { CompareResult, CompareTarget } from 'etcd3';
import type { EtcdClient } from './etcd-client.js';
import { unchanged } from './etcd-mirror.js';
import { keyOf, writeInstance, type registryKeys } from './etcd-registry-keys.js';
import type { Known } from './etcd-registry-view.js';
import type { Instance } from './instances.js';

/** The registry's transactions. */
export class EtcdRegistryWrites {
  constructor(
    private readonly client: EtcdClient,
    private readonly keys: ReturnType<typeof registryKeys>,
  ) {}

  /** Puts a record and its lease. Resolves with etcd's revision of both. */
  async put(instance: Instance, ttlMs: number, lease: string): Promise<number> {
    const { header } = await this.client.txn(
      { success: [{ request_put: { key: this.#record(instance), value: Buffer.from(writeInstance(instance, ttlMs)) } }, { request_put: { key: this.#lease(instance), lease } }] },
      { isRepeatable: true },
    );
    return Number(header.revision);
  }

  /** Takes both away. Resolves with whether there was a record. */
  async remove(instance: Pick<Instance, 'service' | 'instance'>): Promise<boolean> {
    const { responses } = await this.client.txn({ success: [{ request_delete_range: { key: this.#record(instance) } }, { request_delete_range: { key: this.#lease(instance) } }] }, { isRepeatable: true });
    return Number(responses[0]!.response_delete_range.deleted) > 0;
  }

  /** Takes a record away that has no lease, as long as another instance has one. */
  async drop(known: Known, other: Known): Promise<void> {
    const key = keyOf(known);
    const hasLease = { key: this.#lease(other), target: CompareTarget.Create, result: CompareResult.Greater, create_revision: 0 };
    await this.client.txn({ compare: [unchanged(this.keys.record(key), known.revision), unchanged(this.keys.lease(key), 0), hasLease], success: [{ request_delete_range: { key: this.#record(known) } }] });
  }

  /** Puts a record without a lease, if there is none. */
  async putBack(known: Known): Promise<void> {
    await this.client.txn({ compare: [unchanged(this.keys.record(keyOf(known)), 0)], success: [{ request_put: { key: this.#record(known), value: Buffer.from(writeInstance(known, known.ttlMs)) } }] }, { isRepeatable: true });
  }

  #record(instance: Pick<Instance, 'service' | 'instance'>): Buffer {
    return Buffer.from(this.keys.record(keyOf(instance)));
  }

  #lease(instance: Pick<Instance, 'service' | 'instance'>): Buffer {
    return Buffer.from(this.keys.lease(keyOf(instance)));
  }
}
