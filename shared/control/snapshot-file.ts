import writeFileAtomic from 'write-file-atomic';
import { z } from 'zod';
import { readFileBounded } from '../files/read-file.js';
import type { Logger } from '../telemetry/logger.js';
import type { Document } from './document.js';
import { rejectionSchema, type Rejection } from './snapshot.js';

const fileSchema = z.looseObject({
  /** Empty when parts of it are not in force: so an earlier version of this program has it sent again. */
  version: z.string(),
  /** Which one it is then. */
  inPart: z.looseObject({ version: z.string(), rejections: z.array(rejectionSchema) }).optional().catch(undefined),
  config: z.looseObject({}),
  node: z.string().optional(),
  kind: z.string().optional(),
  service: z.string().optional(),
});

/** Whose snapshot it is. */
export interface Owner {
  readonly node: string;
  readonly kind: 'gateway' | 'sidecar';
  readonly service?: string | undefined;
}

/** What is in force of a snapshot. */
export interface KeptSnapshot {
  /** Undefined when the file is of an earlier version of this program, which kept none where parts are not in force. */
  readonly version: string | undefined;
  readonly document: Document;
  /** Parts of it that are not in force. */
  readonly rejections: readonly Rejection[];
}

const maxFileBytes = 64 * 1_024 * 1_024;

/**
 * The last good snapshot on disk, for a start while the control plane is away. Written beside the one before, synced, and renamed over it;
 * readable by its owner only, as it may hold key material. It is a cache: what is damaged, or was another proxy's, is left out with a warning.
 */
export class SnapshotFile {
  constructor(
    private readonly path: string,
    private readonly owner: Owner,
    private readonly logger: Logger,
  ) {}

  async read(): Promise<KeptSnapshot | undefined> {
    try {
      const { version, inPart, config, ...owner } = fileSchema.parse(JSON.parse((await readFileBounded(this.path, maxFileBytes)).toString()));
      for (const part of ['node', 'kind', 'service'] as const) {
        // One that an earlier version wrote says nothing about its owner.
        if (owner.node !== undefined && owner[part] !== this.owner[part]) throw new Error(`it is of ${part} ${JSON.stringify(owner[part])}, and not of ${JSON.stringify(this.owner[part])}`);
      }
      return { version: inPart?.version ?? (version === '' ? undefined : version), document: config, rejections: inPart?.rejections ?? [] };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') this.logger.warn({ err: error, snapshotFile: this.path }, 'the snapshot on disk cannot be used');
      return undefined;
    }
  }

  async write({ version, document, rejections }: KeptSnapshot): Promise<void> {
    try {
      const kept = rejections.length === 0 ? { version } : { version: '', inPart: { version, rejections } };
      await writeFileAtomic(this.path, JSON.stringify({ ...this.owner, ...kept, config: document }), { mode: 0o600 });
    } catch (error) {
      this.logger.warn({ err: error, snapshotFile: this.path }, 'the snapshot could not be kept on disk');
    }
  }
}
