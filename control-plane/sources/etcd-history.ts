import { SortOrder, SortTarget } from 'etcd3';
import type { EtcdClient } from './etcd-client.js';
import { readParts, type Parts } from './etcd-commit.js';
import type { StoreKeys } from './etcd-keys.js';
import type { ResourceChange, Revision } from './store.js';

type Entry = Omit<Revision, 'changes'> & ({ readonly changes: readonly ResourceChange[] } | { readonly parts: Parts });

const pageSize = 50;

/** Revisions from `from` to `to`, newest first, and at most `limit`; those that were pruned are left out. */
export async function readHistory(client: EtcdClient, keys: StoreKeys, { from, to, limit }: { readonly from: number; readonly to: number; readonly limit: number }): Promise<Revision[]> {
  const revisions: Revision[] = [];
  let end = to + 1;
  while (revisions.length < limit && end > from) {
    const { kvs } = await client.range({ key: Buffer.from(keys.revision(from)), range_end: Buffer.from(keys.revision(end)), limit: Math.min(pageSize, limit - revisions.length), sort_order: SortOrder.Descend, sort_target: SortTarget.Key });
    if (kvs.length === 0) break;
    for (const { value } of kvs) {
      const entry = JSON.parse(value.toString()) as Entry;
      end = entry.version;
      revisions.push(await whole(client, keys, entry));
    }
  }
  return revisions;
}

/** The changes of one revision as they were at etcd's revision `at`; undefined if it was pruned. */
export async function readChanges(client: EtcdClient, keys: StoreKeys, version: number, at?: number): Promise<readonly ResourceChange[] | undefined> {
  const { kvs } = await client.range({ key: Buffer.from(keys.revision(version)), ...(at !== undefined && { revision: at }) });
  if (kvs[0] === undefined) return undefined;
  return (await whole(client, keys, JSON.parse(kvs[0].value.toString()) as Entry, at)).changes;
}

async function whole(client: EtcdClient, keys: StoreKeys, entry: Entry, at?: number): Promise<Revision> {
  if ('changes' in entry) return entry;
  const { parts, ...about } = entry;
  return { ...about, changes: await readParts(client, keys, entry.version, parts, at) };
}
