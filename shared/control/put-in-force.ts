import { isDeepStrictEqual } from 'node:util';
import { ConfigError, type Problem } from '../config/load.js';
import { changedParts } from './changed-parts.js';
import type { Document } from './document.js';
import { replaceBadParts } from './replace-bad-parts.js';
import { maxRejections, type Rejection, type Snapshot } from './snapshot.js';

/** Puts a document in force, or rejects and leaves the one before in force: with a `ConfigError` where it can say what is wrong. */
export type Apply = (document: unknown) => Promise<void>;

interface InForce {
  readonly document: Document;
  readonly rejections: readonly Rejection[];
}

/** A document that has nothing new without its bad parts: what is left of it is in force. */
export class NothingLeft extends Error {
  constructor(
    readonly rejections: readonly Rejection[],
    cause: unknown,
  ) {
    super(rejections.map(({ resource, reason }) => (resource === undefined ? reason : `${resource}: ${reason}`)).join('\n'), { cause });
  }
}

/** A part that is replaced may show that another is bad: a route whose upstream is left out. More rounds than kinds of parts show nothing. */
const maxRounds = 6;
/** Attempts to find the one resource that a document cannot be built with. */
const maxTrials = 16;

/**
 * Puts a document in force, but for the parts of it that are bad: those stay as they were in the last good document.
 *
 * Problems that a check finds have paths. What only shows when the document is built (a key file that is not there) has none: then
 * each resource that changed is left out in turn, until the others can be built. Rejects when nothing helps, or with `NothingLeft` when nothing new would be left; the last good document is in force then.
 */
export async function putInForce(document: Document, { sources }: Pick<Snapshot, 'sources'>, lastGood: Document | undefined, apply: Apply): Promise<InForce> {
  if (lastGood !== undefined && isDeepStrictEqual(document, lastGood)) return { document, rejections: [] };
  const first = await attempt(document, sources, lastGood, apply);
  if ('document' in first) return first;
  for (const { paths } of changedParts(document, lastGood, sources).slice(0, maxTrials)) {
    const without = replaceBadParts(document, lastGood, paths.map((path): Problem => ({ path, message: messageOf(first.error) })), sources);
    if (without === undefined) continue;
    // Where it was the only change, nothing else can be what is wrong.
    const second = isDeepStrictEqual(without.document, lastGood) ? { error: new NothingLeft([], first.error) } : await attempt(without.document, sources, lastGood, apply);
    if ('document' in second) return { document: second.document, rejections: [...without.rejections, ...second.rejections].slice(0, maxRejections) };
    if (second.error instanceof NothingLeft) throw first.error instanceof NothingLeft ? first.error : new NothingLeft([...without.rejections, ...second.error.rejections], first.error);
  }
  throw first.error;
}

async function attempt(document: Document, sources: Snapshot['sources'], lastGood: Document | undefined, apply: Apply): Promise<InForce | { readonly error: unknown }> {
  let current = document;
  const rejections: Rejection[] = [];
  for (let round = 0; ; round++) {
    try {
      await apply(current);
      return { document: current, rejections: rejections.slice(0, maxRejections) };
    } catch (error) {
      const replaced = error instanceof ConfigError && round < maxRounds ? replaceBadParts(current, lastGood, error.problems, indexed(current, document, sources)) : undefined;
      if (replaced === undefined) return { error };
      rejections.push(...replaced.rejections);
      current = replaced.document;
      if (isDeepStrictEqual(current, lastGood)) return { error: new NothingLeft(rejections, error) };
    }
  }
}

/** Sources of the routes that are left, whose numbers have changed. */
function indexed(current: Document, original: Document, sources: Snapshot['sources']): Snapshot['sources'] {
  const [now, before] = [current, original].map(({ routes }) => (Array.isArray(routes) ? (routes as { name?: string }[]) : []));
  if (now!.length === before!.length) return sources;
  const moved = Object.entries(sources).flatMap(([path, resource]): [string, string][] => {
    const match = /^routes\[(\d+)\](.*)$/.exec(path);
    if (match === null) return [[path, resource]];
    const index = now!.findIndex(({ name }) => name === before![Number(match[1])]?.name);
    return index === -1 ? [] : [[`routes[${index}]${match[2]}`, resource]];
  });
  return Object.fromEntries(moved);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
