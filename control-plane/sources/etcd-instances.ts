import type { IEvent } from 'etcd3';
import { isDeepStrictEqual } from 'node:util';
import type { Clock, Timer } from '../../shared/clock/clock.js';
import type { WrittenEndpoint } from '../../shared/config/endpoints.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { EtcdClient, IKeyValue } from './etcd-client.js';
import { isDeletion } from './etcd-keys.js';
import { EtcdMirror } from './etcd-mirror.js';
import { EtcdRegistryView, isCounted, type Known } from './etcd-registry-view.js';
import { instanceOf, keyOf, registryKeys } from './etcd-registry-keys.js';
import { EtcdRegistryWrites } from './etcd-registry-writes.js';
import { EtcdSession } from './etcd-session.js';
import { maxInstancesOfService, RegistryFull, type Instance, type InstanceSource } from './instances.js';

/*
 * The registry of several control planes, and what it makes of silence.
 *
 * An instance has two keys in etcd: its *record*, which stays, and its *lease*, which ends with it. An instance is there as long as its record is,
 * and all control planes see the same records by watch. A renewal is a keep-alive of the lease and changes no key; since the lease's number is
 * on its key, a sidecar may renew at any control plane. When a lease ends, etcd deletes that key alone, and every control plane asks itself
 * whether the sidecar *could* have renewed. Whoever answers first acts for all, by deleting the record on the condition that the lease has not come
 * back, and that rule 3 holds:
 *
 * 1. Nothing was wrong for as long as the lease lasts: the instance has died, and its record goes at once.
 * 2. Something was: etcd was away or this watch was broken, this control plane has just started (perhaps there was none at all), or another one
 *    has left and taken its sidecars' renewals with it. Each of these starts the *disturbance* anew. Leases that end within their own length of
 *    it are no sign of death, and their instances get the grace. Those that end while nobody watched are found without a lease
 *    by whoever reads the registry next, which is case 2 as well.
 * 3. A record goes only while another instance of the same service has a lease, so the last one stays, whatever happens, until it says good-bye
 *    itself: a caller loses nothing by trying an address that may be dead instead of none. It is in `endpoints`, but no more in `instances`.
 *
 * While etcd is away nothing changes here: the view stays as it was, and registrations are refused so that sidecars try again or elsewhere. etcd
 * itself gives every lease its whole length again when it is back. One that comes back with less than it had (emptied, or restored from a
 * backup) gets the records of before again, as instances in their grace.
 *
 * That a control plane has left is seen by a lease of its own, as short as etcd allows. Instances with leases so short that theirs may end before
 * that wait for it: what the end of a lease means is decided when a control plane that died with it would have been missed.
 */

interface EtcdInstancesOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** Tells this control plane from the others. */
  readonly id: string;
  /** How long instances may come back whose leases ended because nobody could renew them (ms). */
  readonly graceMs: number;
}

/** The shortest lease that etcd gives with its usual timing (ms). */
const presenceTtlMs = 2_000;
/** What a lease may take to end, beyond its length: etcd looks every half second. And one round of renewals (ms). */
const slackMs = 1_500;
/** What etcd takes at most to see that a lease has ended (ms). */
const noticeMs = 500;
/** Sidecars renew this often in a lease: what is left of one when a control plane dies. */
const renewals = 3;
/** How often what is due is looked at again (ms). */
const beatMs = 250;
const maxInstances = 50_000;
/** Services that are remembered to have been left; the oldest are forgotten, which is the safe side. */
const maxVacated = 10_000;

export class EtcdInstances implements InstanceSource {
  readonly #keys;
  readonly #writes: EtcdRegistryWrites;
  readonly #view = new EtcdRegistryView();
  readonly #mirror: EtcdMirror;
  readonly #presence: EtcdSession;
  readonly #listeners = new Set<() => void>();
  readonly #vacated = new Set<string>();
  readonly #dropping = new Set<string>();
  #disturbedAt: number;
  #cluster: string | undefined;
  #revision = 0;
  #timer: Timer | undefined;
  #closed = false;

  private constructor(private readonly options: EtcdInstancesOptions) {
    const { client, clock, random, logger, id } = options;
    this.#keys = registryKeys(client.prefix);
    this.#writes = new EtcdRegistryWrites(client, this.#keys);
    this.#disturbedAt = clock.now();
    this.#mirror = new EtcdMirror({
      client, clock, random, logger,
      prefix: this.#keys.all,
      replace: (entries, at) => this.#replace(entries, at),
      apply: (events) => {
        this.#apply(events);
        return true;
      },
    });
    this.#presence = new EtcdSession({
      client, clock, ttlMs: presenceTtlMs,
      onLease: async (lease) => {
        await client.txn({ success: [{ request_put: { key: Buffer.from(`${this.#keys.controlPlanes}${id}`), lease } }] }, { isRepeatable: true });
      },
    });
    this.#schedule();
  }

  /** Resolves when the registry has been read, however long etcd is away. */
  static async open(options: EtcdInstancesOptions, onOpening?: (instances: EtcdInstances) => void): Promise<EtcdInstances> {
    const instances = new EtcdInstances(options);
    onOpening?.(instances);
    await instances.#mirror.ready;
    return instances;
  }

  /** What is left of a lease is known where it was renewed; elsewhere it is what it can be at most. */
  get instances(): (Instance & { readonly leaseMs: number })[] {
    const now = this.options.clock.now();
    return [...this.#view.all].filter(isCounted).map(({ service, instance, endpoint, ttlMs, renewedAt = now, graceUntil }) => {
      const isRenewedElsewhere = renewedAt + ttlMs < now;
      const endsAt = graceUntil ?? (isRenewedElsewhere ? now : renewedAt) + ttlMs;
      return { service, instance, endpoint, leaseMs: Math.max(0, Math.round(endsAt - now)) };
    });
  }

  readonly endpoints = (service: string): readonly WrittenEndpoint[] => this.#view.endpoints(service);

  /**
   * How far to believe `endpoints`: the records are all there are. A service without any is `vacated` when its last instance was seen to say
   * good-bye, and otherwise `unknown`.
   */
  readonly standing = (service: string): { readonly state: 'known' | 'unknown' | 'vacated' } => ({ state: this.#view.has(service) ? 'known' : this.#vacated.has(service) ? 'vacated' : 'unknown' });

  async register(instance: Instance, ttlMs: number): Promise<void> {
    const { client, clock } = this.options;
    const key = keyOf(instance);
    const known = this.#view.get(key);
    const sentAt = clock.now();
    const isSame = known !== undefined && known.ttlMs === ttlMs && isDeepStrictEqual(known.endpoint, instance.endpoint);
    if (isSame && known.lease !== undefined && (await client.keepAlive(known.lease))) {
      known.renewedAt = sentAt;
      return;
    }
    if (known === undefined) {
      const { service } = instance;
      if (this.#view.sizeOf(service) >= maxInstancesOfService) throw new RegistryFull(`There are ${this.#view.sizeOf(service)} instances of ${service}; no more are taken.`);
      if (this.#view.size >= maxInstances) throw new RegistryFull(`There are ${this.#view.size} instances; no more are taken.`);
    }
    const { id: lease } = await client.grant(ttlMs);
    const revision = await this.#writes.put(instance, ttlMs, lease);
    // Here at once; the others' watches bring it.
    const present = this.#view.get(key);
    if (present === undefined || present.revision <= revision) this.#put(key, { ...instance, ttlMs, revision, lease, renewedAt: sentAt, graceUntil: undefined, suspectedAt: undefined });
  }

  async deregister(service: string, instance: string): Promise<boolean> {
    const existed = await this.#writes.remove({ service, instance });
    if (this.#remove(keyOf({ service, instance }))) this.#notify();
    return existed;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#presence.close();
    await this.#mirror.close();
    this.#listeners.clear();
  }

  #replace(entries: readonly IKeyValue[], { revision, cluster }: { readonly revision: number; readonly cluster: string }): void {
    const { clock, graceMs, logger } = this.options;
    this.#disturbedAt = clock.now();
    const isSetBack = (this.#cluster !== undefined && this.#cluster !== cluster) || revision < this.#revision;
    [this.#cluster, this.#revision] = [cluster, revision];
    const leases = new Map(entries.flatMap(({ key, lease }) => this.#keys.read(key, 'lease').map((name) => [name, lease])));
    const records = new Map(entries.flatMap((entry) => this.#keys.read(entry.key, 'record').flatMap((name) => instanceOf(name, entry).map((known) => [name, known]))));
    let changes = 0;
    const lost: Known[] = [];
    for (const known of [...this.#view.all]) {
      const key = keyOf(known);
      // One that this control plane has registered since is still to come by watch.
      if (records.has(key) || (known.revision > revision && !isSetBack)) continue;
      if (isSetBack) lost.push(known);
      else if (this.#remove(key)) changes++;
    }
    for (const [key, known] of records) {
      const lease = leases.get(key);
      const before = this.#view.get(key);
      if (before !== undefined && before.revision > revision && !isSetBack) continue;
      if (this.#view.put(key, { ...known, lease, renewedAt: before?.renewedAt, graceUntil: lease === undefined ? clock.now() + graceMs : undefined })) changes++;
    }
    if (lost.length > 0) {
      logger.error({ instances: lost.length }, 'etcd has been set back: the instances of before are put back, for the time of grace');
      for (const known of lost) void this.#putBack(known);
    }
    if (changes > 0) this.#notify();
  }

  #apply(events: readonly IEvent[]): void {
    let changes = 0;
    for (const event of events) {
      const { kv } = event;
      this.#revision = Math.max(this.#revision, Number(kv.mod_revision));
      const isGone = isDeletion(event);
      for (const key of this.#keys.read(kv.key, 'record')) {
        if (isGone) changes += this.#remove(key) ? 1 : 0;
        else for (const known of instanceOf(key, kv)) changes += this.#take(key, known) ? 1 : 0;
      }
      for (const key of this.#keys.read(kv.key, 'lease')) {
        const known = this.#view.get(key);
        // One that this control plane has renewed by itself since is newer than the event.
        if (known === undefined || (isGone && known.revision > Number(kv.mod_revision))) continue;
        if (isGone) this.#ended(known);
        else [known.lease, known.graceUntil, known.suspectedAt] = [kv.lease, undefined, undefined];
      }
      if (isGone && kv.key.toString().startsWith(this.#keys.controlPlanes)) {
        this.#disturbedAt = this.options.clock.now();
        this.options.logger.info('another control plane has left: leases that end now get the grace');
      }
    }
    if (changes > 0) this.#notify();
  }

  #take(key: string, known: Known): boolean {
    const before = this.#view.get(key);
    if (before !== undefined && before.revision >= known.revision) return false;
    this.#vacated.delete(known.service);
    return this.#view.put(key, { ...known, lease: before?.lease, renewedAt: before?.renewedAt, graceUntil: before?.graceUntil, suspectedAt: before?.suspectedAt });
  }

  #ended(known: Known): void {
    const now = this.options.clock.now();
    const missedMs = presenceTtlMs + noticeMs - (known.ttlMs * (renewals - 1)) / renewals;
    [known.lease, known.suspectedAt, known.graceUntil] = [undefined, now, now + Math.max(0, missedMs)];
    this.#sweep();
  }

  /** Decides what is due. */
  #sweep(): void {
    if (!this.#mirror.isLive) return;
    const now = this.options.clock.now();
    for (const known of this.#view.all) {
      if (known.lease !== undefined || (known.graceUntil !== undefined && known.graceUntil > now) || this.#getsGrace(known)) continue;
      const isNew = known.graceUntil !== undefined;
      known.graceUntil = undefined;
      const other = this.#view.leasedBeside(known);
      if (other !== undefined) void this.#drop(known, other);
      else if (isNew) this.#notify();
    }
  }

  /** Rules 1 and 2, once for each lease that ended. */
  #getsGrace(known: Known): boolean {
    const { clock, graceMs, logger } = this.options;
    const { suspectedAt, service, instance } = known;
    if (suspectedAt === undefined) return false;
    known.suspectedAt = undefined;
    const isDead = suspectedAt - this.#disturbedAt >= known.ttlMs + slackMs;
    if (!isDead) known.graceUntil = clock.now() + graceMs;
    logger.info({ service, instance, graceMs: isDead ? 0 : graceMs }, 'the lease of an instance has ended');
    return !isDead;
  }

  /** Rule 3. */
  async #drop(known: Known, other: Known): Promise<void> {
    const key = keyOf(known);
    if (this.#dropping.has(key)) return;
    this.#dropping.add(key);
    try {
      await this.#writes.drop(known, other);
    } catch {
      // The next sweep tries again; the client has said why.
    } finally {
      this.#dropping.delete(key);
    }
  }

  async #putBack(known: Known): Promise<void> {
    const { clock, graceMs } = this.options;
    [known.lease, known.suspectedAt, known.graceUntil] = [undefined, undefined, clock.now() + graceMs];
    // Whatever comes of it, the sweep looks at it again.
    await this.#writes.putBack(known).catch(() => {});
  }

  #put(key: string, known: Known): void {
    this.#vacated.delete(known.service);
    if (this.#view.put(key, known)) this.#notify();
  }

  #remove(key: string): boolean {
    const known = this.#view.delete(key);
    if (known === undefined) return false;
    // By rule 3 the last record of a service goes only by a good-bye.
    if (!this.#view.has(known.service)) this.#vacated.add(known.service);
    if (this.#vacated.size > maxVacated) this.#vacated.delete(this.#vacated.values().next().value!);
    return true;
  }

  #schedule(): void {
    this.#timer = this.options.clock.after(beatMs, () => {
      this.#sweep();
      if (!this.#closed) this.#schedule();
    });
  }

  #notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
