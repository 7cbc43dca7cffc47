import { delay, type Clock } from '../../shared/clock/clock.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Model } from '../model/model.js';
import type { Kind, Resource } from '../model/resources.js';
import type { EtcdClient, IKeyValue } from './etcd-client.js';
import { commit, fold, type Head } from './etcd-commit.js';
import { readChanges, readHistory } from './etcd-history.js';
import { storeKeys } from './etcd-keys.js';
import { EtcdMirror } from './etcd-mirror.js';
import { EtcdStoreState, readHead } from './etcd-store-state.js';
import { makeChange, wayBack, withChanges } from './make-change.js';
import { StoreUnavailable } from './store-unavailable.js';
import { Conflict, type Change, type ResourceChange, type Revision, type Store } from './store.js';

interface EtcdStoreOptions {
  readonly client: EtcdClient;
  /** How many revisions of history are kept. */
  readonly revisions: number;
  /** How long to wait for the watch to bring what etcd already has (ms). */
  readonly timeoutMs: number;
  /** Fills a store in which nothing was ever stored. */
  readonly seed?: readonly Resource[];
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** Revisions of history that are kept where nothing else is said. */
export const defaultRevisions = 500;
/** Times that a change is made anew because another control plane was faster. */
const maxAttempts = 40;
const maxWaiting = 10_000;

/**
 * The store of several control planes: etcd. Everybody's model follows by watch (etcd-mirror.ts); how a change is made, etcd-commit.ts says.
 *
 * Reading is from memory, and goes on while etcd is away. Changing first asks etcd for the version, and waits until this model has it: so
 * nobody gets a conflict, or is told that there is nothing to change, from a model that is behind. An etcd that lost its contents
 * is not believed: what was known stays in force, and nothing is changed, until it is restored, or all control planes were restarted.
 */
export class EtcdStore implements Store {
  readonly #keys;
  readonly #state: EtcdStoreState;
  readonly #mirror: EtcdMirror;
  readonly #listeners = new Set<() => void>();
  readonly #waiting = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  #applied = 0;
  #isEmptied = false;
  #queue: Promise<unknown> = Promise.resolve();
  #queued = 0;

  private constructor(private readonly options: EtcdStoreOptions) {
    const { client, clock, random, logger } = options;
    this.#keys = storeKeys(client.prefix);
    this.#state = new EtcdStoreState(this.#keys, logger);
    this.#mirror = new EtcdMirror({
      client, clock, random, logger,
      prefix: this.#keys.store,
      replace: (entries, { revision }) => this.#replace(entries, revision),
      apply: (events) => {
        const isNew = this.#state.apply(events);
        if (isNew === undefined) return false;
        this.#reach(Number(events.at(-1)!.kv.mod_revision), isNew);
        return true;
      },
    });
  }

  /** Resolves when everything has been read, however long etcd is away. Rejects when `stop` says so before. */
  static async open(options: EtcdStoreOptions, onOpening?: (store: EtcdStore) => void): Promise<EtcdStore> {
    const store = new EtcdStore(options);
    onOpening?.(store);
    await store.#mirror.ready;
    const { seed = [] } = options;
    for (let failures = 0; store.version === 0 && seed.length > 0; failures++) {
      try {
        await store.change({ put: seed, by: 'configuration', action: 'seed', expectedVersion: 0 });
      } catch (error) {
        // Another control plane was faster, or etcd went away just now.
        if (error instanceof StoreUnavailable) await delay(options.clock, Math.min(2_000, 50 * 2 ** Math.min(failures, 6)));
        else if (!(error instanceof Conflict)) throw error;
      }
    }
    return store;
  }

  get model(): Model {
    return this.#state.model;
  }

  get version(): number {
    return this.#state.version;
  }

  /** Whether its model follows etcd at present. */
  get isLive(): boolean {
    return this.#mirror.isLive && !this.#isEmptied;
  }

  versionOf(kind: Kind, name: string): number | undefined {
    return this.#state.versions.get(`${kind}/${name}`);
  }

  change(change: Change): Promise<number> {
    if (this.#queued >= maxWaiting) return Promise.reject(new StoreUnavailable(`More than ${maxWaiting} changes wait for the store.`));
    this.#queued++;
    const result = this.#queue.then(() => this.#change(change)).finally(() => this.#queued--);
    this.#queue = result.catch(() => {});
    return result;
  }

  async dryRun(change: Change): Promise<readonly ResourceChange[]> {
    await this.#upToDate();
    return makeChange(this.#state, change).changes;
  }

  history(limit: number): Promise<readonly Revision[]> {
    return readHistory(this.options.client, this.#keys, { from: 1, to: this.version, limit });
  }

  async at(version: number): Promise<Model | undefined> {
    const { model, version: present } = this.#state;
    if (version > present || version < 0) return undefined;
    const newer = await readHistory(this.options.client, this.#keys, { from: version + 1, to: present, limit: Number.POSITIVE_INFINITY });
    if (newer.length < present - version) return undefined;
    return withChanges(model, wayBack(newer));
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#mirror.close();
    await this.#queue;
    this.#listeners.clear();
  }

  async #change(change: Change): Promise<number> {
    const { client, clock, random, revisions } = this.options;
    for (let attempt = 1; attempt <= maxAttempts; attempt++) {
      const head = await this.#upToDate();
      if (head !== undefined && (await this.#folded(head))) {
        const { changes } = makeChange(this.#state, change);
        if (changes.length === 0) return this.version;
        const version = head.version + 1;
        const revision = await commit(client, this.#keys, head, { version, at: new Date(clock.wallNow()).toISOString(), by: change.by, action: change.action, changes }, revisions);
        if (revision !== undefined) {
          // It counts, whether or not the watch brings it in time.
          await this.#reached(revision).catch(() => {});
          await this.#folded(this.#state.head).catch(() => {});
          return version;
        }
      }
      await delay(clock, random() * Math.min(100, 2 * 2 ** attempt));
    }
    throw new StoreUnavailable('Other control planes change the store all the time: this change was not made.');
  }

  /** What the store says now, once this model says the same; undefined: somebody changed it meanwhile. */
  async #upToDate(): Promise<Head | undefined> {
    const { kvs } = await this.options.client.range({ key: Buffer.from(this.#keys.version) });
    const { revision } = readHead(kvs[0]);
    if (revision === 0 && this.version > 0) throw new StoreUnavailable('The store has lost its contents. What was known stays in force, and nothing can be changed until it is restored.');
    await this.#reached(revision);
    const { head } = this.#state;
    return head.revision === revision ? head : undefined;
  }

  /** Ends what a large change has left to do. False: the version has moved on by that. */
  async #folded(head: Head): Promise<boolean> {
    if (!head.pending) return true;
    const { client } = this.options;
    const changes = await readChanges(client, this.#keys, head.version);
    if (changes !== undefined) await fold(client, this.#keys, head, changes);
    return false;
  }

  async #replace(entries: readonly IKeyValue[], revision: number): Promise<void> {
    const { client, logger } = this.options;
    const head = readHead(entries.find(({ key }) => key.toString() === this.#keys.version));
    this.#isEmptied = head.revision === 0 && this.version > 0;
    if (this.#isEmptied) {
      logger.error({ version: this.version }, 'etcd has lost its contents: what was known stays in force; restore it, or restart all control planes to begin anew');
      return;
    }
    if (head.version < this.version) logger.warn({ before: this.version, version: head.version }, 'etcd has been set back to an earlier version');
    const pending = head.pending ? await readChanges(client, this.#keys, head.version, revision) : [];
    if (pending === undefined) throw new Error(`revision ${head.version} is pending and not in history`);
    const isNew = head.revision !== this.#state.head.revision;
    this.#state.replace(head, entries.filter(({ key }) => key.toString().startsWith(this.#keys.resources)), pending);
    this.#applied = 0;
    this.#reach(revision, isNew);
  }

  #reach(revision: number, isNew: boolean): void {
    this.#applied = Math.max(this.#applied, revision);
    if (isNew) for (const listener of this.#listeners) listener();
    for (const one of this.#waiting) if (one.revision <= this.#applied) one.resolve();
  }

  /** Resolves when the model has what etcd had at this revision. */
  #reached(revision: number): Promise<void> {
    if (revision <= this.#applied) return Promise.resolve();
    const { clock, timeoutMs } = this.options;
    return new Promise((resolve, reject) => {
      const end = (): void => {
        timer.cancel();
        this.#waiting.delete(one);
      };
      const one = { revision, resolve: () => (end(), resolve()) };
      const timer = clock.after(timeoutMs, () => (end(), reject(new StoreUnavailable('This control plane has not caught up with the store.'))));
      this.#waiting.add(one);
    });
  }
}
