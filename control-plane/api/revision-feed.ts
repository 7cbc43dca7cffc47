import type { Logger } from '../../shared/telemetry/logger.js';
import type { Revision, Store } from '../sources/store.js';

/** How far a feed looks back when it fell behind. */
const maxRevisions = 1_000;

export interface Watcher {
  readonly send: (revision: Revision) => void;
  /** There is no telling what it missed: it must begin anew. */
  readonly lost: () => void;
}

/** Tells watchers of each revision once and in order. History is read once for all of them. */
export class RevisionFeed {
  readonly #watchers = new Map<Watcher, number>();
  #told: number;
  #turn: Promise<void> = Promise.resolve();
  readonly #unsubscribe: () => void;

  constructor(
    private readonly store: Store,
    private readonly logger: Logger,
  ) {
    this.#told = store.version;
    this.#unsubscribe = store.onChange(() => void this.#inTurn(() => this.#tell()));
  }

  get size(): number {
    return this.#watchers.size;
  }

  /**
   * Adds a watcher that knows everything up to `since`. Resolves with false, and adds nobody, when history does not reach back that far, or `since` is of a version that never was.
   */
  async add(watcher: Watcher, since: number): Promise<boolean> {
    return this.#inTurn(async () => {
      await this.#tell();
      const missed = await revisionsAfter(this.store, since, this.#told);
      if (missed === undefined) return false;
      this.#watchers.set(watcher, this.#told);
      for (const revision of missed) watcher.send(revision);
      return true;
    });
  }

  remove(watcher: Watcher): void {
    this.#watchers.delete(watcher);
  }

  close(): void {
    this.#unsubscribe();
    for (const watcher of this.#watchers.keys()) watcher.lost();
  }

  async #tell(): Promise<void> {
    const { version } = this.store;
    if (version === this.#told) return;
    const revisions = version > this.#told ? await revisionsAfter(this.store, this.#told, version) : undefined;
    this.#told = version;
    for (const watcher of [...this.#watchers.keys()]) {
      if (revisions === undefined) watcher.lost();
      else for (const revision of revisions) watcher.send(revision);
    }
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(run);
    this.#turn = result.then(
      () => {},
      (error: unknown) => {
        // Watchers cannot be told what was missed: they come back with the version that they have.
        this.logger.warn({ err: error }, 'history could not be read for those who watch');
        for (const watcher of [...this.#watchers.keys()]) watcher.lost();
      },
    );
    return result;
  }
}

/** Those above `since` up to `until`, oldest first; undefined when history has not all of them. */
async function revisionsAfter(store: Store, since: number, until: number): Promise<readonly Revision[] | undefined> {
  if (since === until) return [];
  if (since > until) return undefined;
  const history = await store.history(maxRevisions);
  const wanted = history.filter(({ version }) => version > since && version <= until).reverse();
  // Each version is one revision: as many as there are between, or some are missing.
  return wanted.length === until - since ? wanted : undefined;
}
