import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { notWritten } from '../sources/store-unavailable.js';
import { privateDirectory, removeLeftovers, writeDurably } from '../../shared/files/write-durably.js';

const time = z.number().describe('Wall clock, ms.');

const authoritySchema = z.strictObject({
  id: z.string(),
  stage: z.enum(['published', 'signing', 'retired']),
  /** `own`: made here; `given`: the configured issuer. */
  source: z.enum(['own', 'given']),
  chain: z.string(),
  root: z.string(),
  key: z.string(),
  /** When it came into the bundle. */
  publishedAt: time,
  /** When it signs, or began to. */
  signsFrom: time,
  /** Retired: when the last certificate that it signed has expired. */
  leavesAt: time.optional(),
  /** The longest life of anything that it has signed, or may have (ms). */
  longestLifeMs: z.number(),
});
/** One authority and where it stands in its life. */
export type AuthorityState = z.output<typeof authoritySchema>;

const stateSchema = z.strictObject({
  trustDomain: z.string(),
  /** Version of the trust bundle: grows whenever a root comes or goes. */
  sequence: z.int(),
  authorities: z.array(authoritySchema),
});
/** All that must survive a crash. Keys and stages are one document, so that a crash finds both before a step, or both after it. */
export type CaState = z.output<typeof stateSchema>;

/**
 * Where the state is kept: one document that holds private keys. Interchangeable: a file, or a store that several control planes share.
 */
export interface StateDocument {
  /** The text, or undefined if there is none yet. */
  read(): Promise<string | undefined>;
  /** Writes `after` if what is there is still `before`; resolves with whether it was. Counts when it is on disk. */
  replace(before: string | undefined, after: string): Promise<boolean>;
}

/** Throws if the text is no state, and says nothing of its contents. */
export function parseState(text: string, trustDomain: string): CaState {
  let state: CaState;
  try {
    state = stateSchema.parse(JSON.parse(text));
  } catch {
    throw new Error('the state of the certificate authority is damaged: restore it from a backup, or move it away to begin with a new root');
  }
  if (state.trustDomain !== trustDomain) throw new Error(`the certificate authority is that of the trust domain ${JSON.stringify(state.trustDomain)}, and not of ${JSON.stringify(trustDomain)}: a trust domain cannot be renamed`);
  return state;
}

/** In `DIRECTORY/ca/authority.json`, for the owner's eyes only. */
export async function fileDocument(dataDir: string): Promise<StateDocument> {
  const file = join(dataDir, 'ca', 'authority.json');
  await privateDirectory(dirname(file));
  await removeLeftovers(file);
  const read = async (): Promise<string | undefined> => {
    try {
      return await readFile(file, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
      throw error;
    }
  };
  return {
    read,
    async replace(before, after) {
      if ((await read()) !== before) return false;
      await writeDurably(file, after).catch((error: unknown) => {
        throw notWritten('The state of the certificate authority', error);
      });
      return true;
    },
  };
}

/** Lost with the process: for an issuer whose files are somebody else's, and for tests. */
export function memoryDocument(text?: string): StateDocument {
  return {
    read: async () => text,
    async replace(before, after) {
      if (text !== before) return false;
      text = after;
      return true;
    },
  };
}
