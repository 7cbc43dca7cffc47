import type { Model } from '../model/model.js';
import type { Kind, Resource } from '../model/resources.js';

/** What a change does to one resource: `before` is missing for a new one, `after` for a deleted one. */
export interface ResourceChange {
  readonly kind: Kind;
  readonly name: string;
  readonly before?: Resource | undefined;
  readonly after?: Resource | undefined;
}

/** One version of the resources: what was changed, by whom and when. */
export interface Revision {
  readonly version: number;
  /** ISO 8601, UTC. */
  readonly at: string;
  /** Name of whoever did it: a token's name, or a SPIFFE name. */
  readonly by: string;
  /** What was asked for: `apply`, `delete`, `rollback to 17`, `seed`. */
  readonly action: string;
  readonly changes: readonly ResourceChange[];
}

/** A change of resources: all of it happens, or nothing. */
export interface Change {
  readonly put?: readonly Resource[] | undefined;
  readonly remove?: readonly { readonly kind: Kind; readonly name: string }[] | undefined;
  readonly by: string;
  readonly action: string;
  /**
   * Versions that single resources must still have (`ETag`, `If-Match`); 0: it must not exist yet. Rejects with `Conflict` when
   * one has not.
   */
  readonly expected?: readonly { readonly kind: Kind; readonly name: string; readonly version: number }[] | undefined;
  /** The version that the whole must still have. Rejects with a `Conflict` that names no resource when it has another. */
  readonly expectedVersion?: number | undefined;
}

/** Somebody else was faster. */
export class Conflict extends Error {
  override readonly name = 'Conflict';
  constructor(
    /** Undefined: not one resource, but the whole. */
    readonly kind: Kind | undefined,
    readonly resource: string,
    readonly expected: number,
    /** 0: there is none. */
    readonly actual: number,
  ) {
    super(`${kind === undefined ? 'the whole' : `${kind}/${resource}`} has version ${actual}, and not ${expected}`);
  }
}

/**
 * Where the truth is kept: every resource, with a version for the whole that each change raises.
 *
 * A change counts when it is on disk (or in a majority of etcd), and only then is anybody told of it. What is acknowledged is never lost,
 * what is half-written never read. Interchangeable: the embedded store and etcd pass one conformance suite.
 */
export interface Store {
  readonly model: Model;
  /** Version of the whole; grows with every change. 0: nothing was ever stored. */
  readonly version: number;
  /** The version of the whole at which a resource was last changed; undefined for one that is not there. */
  versionOf(kind: Kind, name: string): number | undefined;
  /**
   * Makes a change and resolves with the version that it made; an empty one (nothing differs) makes none, and resolves with the present.
   * Rejects with a `ConfigError` that names every problem, or with `Conflict`; nothing has changed then.
   */
  change(change: Change): Promise<number>;
  /** What a change would do, without doing it. Rejects as `change` would. */
  dryRun(change: Change): Promise<readonly ResourceChange[]>;
  /** Revisions, newest first; as many are kept as `history.revisions` says. */
  history(limit: number): Promise<readonly Revision[]>;
  /** The resources as they were at a version; undefined when history does not reach back to it. */
  at(version: number): Promise<Model | undefined>;
  /** Runs after every change, whoever made it. Returns the unsubscription. */
  onChange(listener: () => void): () => void;
  close(): Promise<void>;
}
