import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { ConfigError, parseConfig } from '../../shared/config/load.js';
import { z } from 'zod';
import { Model } from '../model/model.js';
import { resourceSchema, type Kind, type Resource } from '../model/resources.js';

const fileSchema = z.strictObject({ version: z.int().min(0), resources: z.array(resourceSchema) });

/**
 * Where the truth is kept: every resource, and a version that each change raises by one.
 *
 * Changes are made one after the other, are checked as a whole, and count only when they are on disk: written beside the
 * old file, synced, and renamed over it, so that a crash at any moment leaves one of the two.
 */
export class ResourceStore {
  #model = Model.empty;
  #version = 0;
  #queue: Promise<unknown> = Promise.resolve();
  readonly #listeners = new Set<() => void>();

  private constructor(private readonly file: string | undefined) {}

  /** Opens the store in a directory, or one in memory. `seed` fills a store that is empty. Rejects when the file is damaged. */
  static async open(dataDir: string | undefined, seed: readonly Resource[]): Promise<ResourceStore> {
    const store = new ResourceStore(dataDir === undefined ? undefined : join(dataDir, 'resources.json'));
    if (dataDir !== undefined) await mkdir(dataDir, { recursive: true, mode: 0o700 });
    await store.#read();
    if (store.#version === 0 && seed.length > 0) await store.apply(seed);
    return store;
  }

  get model(): Model {
    return this.#model;
  }

  get version(): number {
    return this.#version;
  }

  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  /** Adds or replaces resources, all or none. Rejects with a `ConfigError` that names every problem. */
  apply(resources: readonly Resource[], { dryRun = false } = {}): Promise<number> {
    return this.#change((model) => model.with(resources), dryRun);
  }

  /** Removes a resource. Rejects with a `ConfigError` when others still refer to it. */
  delete(kind: Kind, name: string): Promise<number> {
    return this.#change((model) => model.without(kind, name), false);
  }

  #change(make: (model: Model) => Model, dryRun: boolean): Promise<number> {
    const change = this.#queue.then(async () => {
      const model = make(this.#model);
      const problems = model.problems();
      if (problems.length > 0) throw new ConfigError(problems, 'resources');
      if (dryRun) return this.#version;
      const version = this.#version + 1;
      if (this.file !== undefined) await writeFileAtomic(this.file, JSON.stringify({ version, resources: model.all }, null, 2), { mode: 0o600, fsync: true });
      this.#model = model;
      this.#version = version;
      for (const listener of this.#listeners) listener();
      return version;
    });
    this.#queue = change.catch(() => {});
    return change;
  }

  async #read(): Promise<void> {
    if (this.file === undefined) return;
    let text: string;
    try {
      text = await readFile(this.file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      throw error;
    }
    const document = JSON.parse(text) as { version: number; resources: Resource[] };
    parseConfig(document, fileSchema);
    this.#model = Model.of(document.resources);
    this.#version = document.version;
  }
}
