import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Clock } from '../../shared/clock/clock.js';
import type { Model } from '../model/model.js';
import type { Kind, Resource } from '../model/resources.js';
import { DurableFile, syncDirectory } from './durable-file.js';
import { makeChange, wayBack, withChanges } from './make-change.js';
import type { Change, ResourceChange, Revision, Store } from './store.js';
import { StoreUnavailable } from './store-unavailable.js';
import { bounded, emptyState, keep, readState, writeState, type StoreState } from './store-file.js';

export interface EmbeddedStoreOptions {
  /** Where the file is; undefined: in memory. */
  readonly directory: string | undefined;
  /** Fills a store in which nothing was ever stored. */
  readonly seed?: readonly Resource[];
  /** How much history is kept: revisions, and bytes of them. */
  readonly history?: { readonly revisions: number; readonly bytes: number };
  readonly clock: Clock;
}

interface Waiting {
  readonly change: Change;
  readonly resolve: (version: number) => void;
  readonly reject: (error: unknown) => void;
}

export const historyDefaults = { revisions: 1_000, bytes: 4 * 1_024 * 1_024 } as const;
/** Changes that may wait for the disk; beyond it they are refused. */
const maxWaiting = 10_000;

/**
 * The store of a single control plane: one file.
 *
 * Changes are made one after the other, each to what the one before left. Those that come while the disk is busy are written together, in one
 * go, and are acknowledged together: none before it is on disk. When writing fails, all of them fail, and what counts is what was there before.
 */
export class EmbeddedStore implements Store {
  #state: StoreState = emptyState;
  #waiting: Waiting[] = [];
  #writing: Promise<void> | undefined;
  #closed = false;
  #isWritable = true;
  readonly #listeners = new Set<() => void>();

  private constructor(
    private readonly file: DurableFile | undefined,
    private readonly limits: { readonly revisions: number; readonly bytes: number },
    private readonly clock: Clock,
  ) {}

  /** Rejects with a `ConfigError`, and touches nothing, when the file is damaged. */
  static async open({ directory, seed = [], history = historyDefaults, clock }: EmbeddedStoreOptions): Promise<EmbeddedStore> {
    if (directory !== undefined && (await mkdir(directory, { recursive: true, mode: 0o700 })) !== undefined) await syncDirectory(dirname(directory));
    const store = new EmbeddedStore(directory === undefined ? undefined : new DurableFile(join(directory, 'resources.json')), history, clock);
    const text = await store.file?.read();
    if (text !== undefined) store.#state = readState(text, store.file!.path);
    if (store.version === 0 && seed.length > 0) await store.change({ put: seed, by: 'configuration', action: 'seed' });
    return store;
  }

  get model(): Model {
    return this.#state.model;
  }

  get version(): number {
    return this.#state.version;
  }

  /** Whether the disk took the last change. */
  get isWritable(): boolean {
    return this.#isWritable;
  }

  versionOf(kind: Kind, name: string): number | undefined {
    return this.#state.versions.get(`${kind}/${name}`);
  }

  change(change: Change): Promise<number> {
    if (this.#closed) return Promise.reject(new Error('the store is closed'));
    if (this.#waiting.length >= maxWaiting) return Promise.reject(new StoreUnavailable(`More than ${maxWaiting} changes wait for the disk.`));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ change, resolve, reject });
      this.#writing ??= this.#write();
    });
  }

  async dryRun(change: Change): Promise<readonly ResourceChange[]> {
    return makeChange(this.#state, change).changes;
  }

  async history(limit: number): Promise<readonly Revision[]> {
    return this.#state.history.slice(-limit).reverse();
  }

  async at(version: number): Promise<Model | undefined> {
    const { history } = this.#state;
    const first = history[0] === undefined ? this.version : history[0].version - 1;
    if (version < first || version > this.version) return undefined;
    return withChanges(this.model, wayBack(history.filter((revision) => revision.version > version).reverse()));
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when what was asked for before is on disk. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#writing;
    this.#listeners.clear();
  }

  async #write(): Promise<void> {
    // Whoever asks in the same turn is taken along.
    await Promise.resolve();
    while (this.#waiting.length > 0) await this.#commit(this.#waiting.splice(0));
    this.#writing = undefined;
  }

  async #commit(batch: readonly Waiting[]): Promise<void> {
    let state = this.#state;
    const outcomes: (() => void)[] = [];
    const failures: ((error: unknown) => void)[] = [];
    for (const { change, resolve, reject } of batch) {
      try {
        state = this.#next(state, change);
        const { version } = state;
        outcomes.push(() => resolve(version));
        failures.push(reject);
      } catch (error) {
        // Told with the rest: what it was compared with is not on disk yet.
        outcomes.push(() => reject(error));
        failures.push(reject);
      }
    }
    try {
      if (state !== this.#state) {
        await this.file?.replace(writeState(state));
        this.#isWritable = true;
      }
    } catch (error) {
      this.#isWritable = false;
      for (const fail of failures) fail(error);
      return;
    }
    const isChanged = state !== this.#state;
    this.#state = state;
    if (isChanged) for (const listener of this.#listeners) listener();
    for (const tell of outcomes) tell();
  }

  #next(state: StoreState, change: Change): StoreState {
    const { model, changes } = makeChange(state, change);
    if (changes.length === 0) return state;
    const version = state.version + 1;
    const versions = new Map(state.versions);
    for (const { kind, name, after } of changes) {
      if (after === undefined) versions.delete(`${kind}/${name}`);
      else versions.set(`${kind}/${name}`, version);
    }
    const revision = keep({ version, at: new Date(this.clock.wallNow()).toISOString(), by: change.by, action: change.action, changes });
    return { model, version, versions, history: bounded([...state.history, revision], this.limits) };
  }
}
