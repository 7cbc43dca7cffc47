import type { IEvent } from 'etcd3';
import type { Logger } from '../../shared/telemetry/logger.js';
import { Model } from '../model/model.js';
import { resourceSchema, type Kind, type Resource } from '../model/resources.js';
import type { IKeyValue } from './etcd-client.js';
import type { Head } from './etcd-commit.js';
import { isDeletion, unpart, type StoreKeys } from './etcd-keys.js';
import type { Resources } from './make-change.js';
import type { ResourceChange } from './store.js';

interface Entry {
  readonly version: number;
  readonly resource: Resource;
}

/** What one control plane knows of the store: resources by `KIND/NAME`, and the version. */
export class EtcdStoreState implements Resources {
  model = Model.empty;
  versions: ReadonlyMap<string, number> = new Map();
  head: Head = { version: 0, revision: 0, heavy: [], pending: false };
  #entries = new Map<string, Entry>();

  constructor(
    private readonly keys: StoreKeys,
    private readonly logger: Logger,
  ) {}

  get version(): number {
    return this.head.version;
  }

  /** Takes everything as it was at one revision, with the change that is not yet in its resources. */
  replace(head: Head, resources: readonly IKeyValue[], pending: readonly ResourceChange[]): void {
    const before = this.#entries;
    this.#entries = new Map();
    for (const entry of resources) this.#put(entry, before);
    for (const { kind, name, after } of pending) {
      if (after === undefined) this.#entries.delete(`${kind}/${name}`);
      else this.#entries.set(`${kind}/${name}`, { version: head.version, resource: after });
    }
    this.head = head;
    this.#publish();
  }

  /** Takes what changed. Returns whether the version did; undefined: everything must be read again. */
  apply(events: readonly IEvent[]): boolean | undefined {
    let head: Head | undefined;
    for (const event of events) {
      const key = event.kv.key.toString();
      const isGone = isDeletion(event);
      if (key === this.keys.version) {
        if (isGone) return undefined;
        head = readHead(event.kv);
      } else if (key.startsWith(this.keys.resources)) {
        if (isGone) this.#entries.delete(nameOf(this.keys, key));
        else this.#put(event.kv, this.#entries);
      }
    }
    if (head === undefined) return false;
    if (head.pending && head.version !== this.version) return undefined;
    const isNew = head.version !== this.version;
    this.head = head;
    if (isNew) this.#publish();
    return isNew;
  }

  /** A resource that nobody can read, or not this release, is left out or stays as it was: alone. */
  #put(entry: IKeyValue, before: ReadonlyMap<string, Entry>): void {
    const name = nameOf(this.keys, entry.key.toString());
    try {
      const { version, resource } = JSON.parse(entry.value.toString()) as Entry;
      const { error } = resourceSchema.safeParse(resource);
      if (error !== undefined) throw error;
      if (`${resource.kind}/${resource.name}` !== name) throw new Error('it says that it is another');
      this.#entries.set(name, { version, resource });
    } catch (error) {
      const known = before.get(name);
      if (known !== undefined) this.#entries.set(name, known);
      this.logger.error({ resource: name, reason: (error as Error).message, kept: known !== undefined }, 'a resource in etcd cannot be used');
    }
  }

  #publish(): void {
    this.model = Model.of([...this.#entries.values()].map(({ resource }) => resource));
    this.versions = new Map([...this.#entries].map(([name, { version }]) => [name, version]));
  }
}

export function readHead(entry: IKeyValue | undefined): Head {
  if (entry === undefined) return { version: 0, revision: 0, heavy: [], pending: false };
  const { version, heavy = [], pending = false } = JSON.parse(entry.value.toString()) as Partial<Head> & { version: number };
  return { version, heavy, pending, revision: Number(entry.mod_revision) };
}

function nameOf(keys: StoreKeys, key: string): string {
  const [kind, name] = key.slice(keys.resources.length).split('/') as [Kind, string];
  return `${kind}/${unpart(name)}`;
}
