import type { IEvent } from 'etcd3';

/** The first key behind all that start with a prefix. The last byte of ours is always a letter or a slash. */
export function prefixEnd(prefix: string): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1]!++;
  return end;
}

export function isDeletion({ type }: IEvent): boolean {
  return type === 'Delete';
}

/** A number that sorts as text. */
export function ordered(version: number): string {
  return String(version).padStart(12, '0');
}

/** A name that may hold anything, as one part of a key. */
export function part(name: string): string {
  return encodeURIComponent(name);
}

export function unpart(text: string): string {
  return decodeURIComponent(text);
}

/**
 * Where the keys of the store are, below its prefix:
 *
 *     /store/version                     {"version":17}, or with "pending" while a large change is not yet in its resources
 *     /store/resources/KIND/NAME         {"version":12,"resource":{…}}
 *     /history/000000000017              {"version":17,"at":…,"by":…,"action":…,"changes":[…]}, or with "parts" for "changes"
 *     /parts/000000000017-ID/0000        the text of "changes", cut
 */
export function storeKeys(prefix: string) {
  const resources = `${prefix}/store/resources/`;
  return {
    store: `${prefix}/store/`,
    version: `${prefix}/store/version`,
    resources,
    resource: (kind: string, name: string) => `${resources}${kind}/${part(name)}`,
    history: `${prefix}/history/`,
    revision: (version: number) => `${prefix}/history/${ordered(version)}`,
    parts: (version: number, id = '') => `${prefix}/parts/${ordered(version)}-${id}`,
    allParts: `${prefix}/parts/`,
  };
}
export type StoreKeys = ReturnType<typeof storeKeys>;
