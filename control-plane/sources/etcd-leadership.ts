import { CompareTarget } from 'etcd3';
import type { Clock } from '../../shared/clock/clock.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { EtcdClient, IKeyValue } from './etcd-client.js';
import { isDeletion } from './etcd-keys.js';
import { EtcdMirror, unchanged } from './etcd-mirror.js';
import { EtcdSession } from './etcd-session.js';
import type { Leadership } from './leadership.js';

interface EtcdLeadershipOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** Tells this control plane from the others. */
  readonly id: string;
  /** Base address at which the others reach this one's API. */
  readonly url: string | undefined;
  /** How long a leader that fell silent keeps the others waiting (ms). */
  readonly ttlMs: number;
}

/**
 * One leader among the control planes on one etcd.
 *
 * There is one key, and whoever creates it leads, for as long as its lease is renewed. All watch it, and try to create it when it is gone. A
 * leader that cannot renew steps down by its own clock before etcd lets go of the key (etcd-session.ts), so there are never two.
 */
export class EtcdLeadership implements Leadership {
  readonly #key: string;
  readonly #session: EtcdSession;
  readonly #mirror: EtcdMirror;
  readonly #listeners = new Set<() => void>();
  #holder: { readonly id: string; readonly url: string | undefined; readonly lease: string } | undefined;
  #said = false;
  #closed = false;

  constructor(private readonly options: EtcdLeadershipOptions) {
    const { client, clock, random, logger, ttlMs } = options;
    this.#key = `${client.prefix}/leader`;
    this.#session = new EtcdSession({
      client, clock, ttlMs,
      onLease: (lease) => this.#campaign(lease),
      onRenewed: () => this.#tell(),
      onLapsed: () => this.#tell(),
    });
    this.#mirror = new EtcdMirror({
      client, clock, random, logger,
      prefix: this.#key,
      replace: (entries) => this.#see(entries.at(0)),
      apply: (events) => {
        const last = events.at(-1)!;
        this.#see(isDeletion(last) ? undefined : last.kv);
        return true;
      },
    });
  }

  get isLeader(): boolean {
    return this.#session.isValid && this.#holder !== undefined && this.#holder.id === this.options.id && this.#holder.lease === this.#session.lease;
  }

  get leader(): string | undefined {
    return this.#holder?.url;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#session.close();
    this.#tell();
    await this.#mirror.close();
  }

  #see(entry: IKeyValue | undefined): void {
    this.#holder = entry && { ...(JSON.parse(entry.value.toString()) as { id: string; url: string | undefined }), lease: entry.lease };
    this.#tell();
    const { lease } = this.#session;
    // The client says what is wrong with etcd; the session's next beat, and the watch, bring us back here.
    if (entry === undefined && lease !== undefined && !this.#closed) this.#campaign(lease).catch(() => {});
  }

  /** Creates the key if nobody has; a key of ours from a lease of before is taken over, since we are the one that had it. */
  async #campaign(lease: string): Promise<void> {
    const { client, id, url } = this.options;
    const mine = { request_put: { key: Buffer.from(this.#key), value: Buffer.from(JSON.stringify({ id, url })), lease } };
    const { succeeded, responses } = await client.txn({ compare: [unchanged(this.#key, 0)], success: [mine], failure: [{ request_range: { key: Buffer.from(this.#key) } }] }, { isRepeatable: true });
    const present = succeeded ? undefined : responses[0]?.response_range.kvs[0];
    if (present === undefined || present.lease === lease || (JSON.parse(present.value.toString()) as { id: string }).id !== id) return;
    await client.txn({ compare: [{ key: Buffer.from(this.#key), target: CompareTarget.Mod, mod_revision: present.mod_revision }], success: [mine] }, { isRepeatable: true });
  }

  #tell(): void {
    const { isLeader, leader } = this;
    const said = `${isLeader} ${leader ?? ''}`;
    if (said === this.#lastSaid) return;
    this.#lastSaid = said;
    if (isLeader !== this.#said) this.options.logger.info({ leader }, isLeader ? 'this control plane leads' : 'this control plane no longer leads');
    this.#said = isLeader;
    for (const listener of this.#listeners) listener();
  }
  #lastSaid = 'false ';
}
