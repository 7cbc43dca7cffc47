import { randomUUID } from 'node:crypto';
import type { IRequestOp } from 'etcd3';
import { ConfigError } from '../../shared/config/load.js';
import type { EtcdClient } from './etcd-client.js';
import type { StoreKeys } from './etcd-keys.js';
import { unchanged } from './etcd-mirror.js';
import { StoreUnavailable } from './store-unavailable.js';
import type { ResourceChange, Revision } from './store.js';

/*
 * How a change gets into etcd: all of it in one transaction, which compares the version with what it was made from.
 *
 * etcd takes 128 operations and 1.5 MiB in one. A change that is larger goes in two steps, of which the first is nothing: its text is cut and
 * put as parts, on a lease, so that what is never committed disappears. The transaction then raises the version, marks it as *pending*, and
 * takes the parts from their lease without sending them again. From that moment the change counts: whoever reads sees the resources with the
 * pending change laid over them. Then it is *folded*: written to the resources in as many transactions as it takes. Folding may end anywhere, and
 * be taken up by anybody, since it only writes what reading says already; the next change waits for it, and does it if nobody else did.
 */

export const limits = {
  /** Below etcd's `--max-txn-ops` of 128. */
  operations: 120,
  /** Below etcd's `--max-request-bytes` of 1.5 MiB. */
  transactionBytes: 1_048_576,
  partBytes: 786_432,
  parts: 100,
  /** Of one resource as JSON. */
  resourceBytes: 1_000_000,
  /** What the larger entries of history may take in all; the oldest go first. */
  historyBytes: 67_108_864,
  heavyBytes: 16_384,
} as const;

/** How long parts wait for their transaction (ms). */
const partsTtlMs = 120_000;

/** What the key of the version says. */
export interface Head {
  readonly version: number;
  /** etcd's revision of the key; 0: it is not there. */
  readonly revision: number;
  /** Of revisions that take much space: version and bytes, oldest first. */
  readonly heavy: readonly (readonly [version: number, bytes: number])[];
  readonly pending: boolean;
}

/** Where the text of a revision's changes is, when it is too long for one value. */
export interface Parts {
  readonly id: string;
  readonly count: number;
}

export function writeHead({ version, heavy, pending }: Omit<Head, 'revision'>): string {
  return JSON.stringify({ version, ...(heavy.length > 0 && { heavy }), ...(pending && { pending }) });
}

/** Commits a revision, made from what `head` says. Resolves with etcd's revision, or undefined when somebody else was faster. */
export async function commit(client: EtcdClient, keys: StoreKeys, head: Head, revision: Revision, revisions: number): Promise<number | undefined> {
  const { changes, version, ...about } = revision;
  const operations = resourceOperations(keys, version, changes);
  const text = Buffer.from(JSON.stringify(changes));
  const heavy = [...head.heavy, ...(text.length > limits.heavyBytes ? [[version, text.length] as const] : [])];
  let oldest = Math.max(1, version - revisions + 1);
  while (heavy.length > 1 && heavy.reduce((sum, [, bytes]) => sum + bytes, 0) > limits.historyBytes) oldest = Math.max(oldest, heavy.shift()![0] + 1);
  const kept = heavy.filter(([of]) => of >= oldest);
  const pruning = [remove(keys.history, keys.revision(oldest)), remove(keys.allParts, keys.parts(oldest))];

  const isSmall = operations.length + 4 <= limits.operations && text.length + bytesOf(operations) <= limits.transactionBytes;
  if (isSmall) {
    const entry = put(keys.revision(version), JSON.stringify({ version, ...about, changes }));
    return transact(client, keys, head, [put(keys.version, writeHead({ version, heavy: kept, pending: false })), entry, ...operations, ...pruning]);
  }
  const staged = await stage(client, keys, version, text);
  const entry = put(keys.revision(version), JSON.stringify({ version, ...about, parts: { id: staged.id, count: staged.names.length } satisfies Parts }));
  const detach = staged.names.map((name): IRequestOp => ({ request_put: { key: Buffer.from(name), ignore_value: true } }));
  return transact(client, keys, head, [put(keys.version, writeHead({ version, heavy: kept, pending: true })), entry, ...detach, ...pruning]);
}

/** Writes a pending change to the resources. Resolves when it is there, whoever did it. */
export async function fold(client: EtcdClient, keys: StoreKeys, head: Head, changes: readonly ResourceChange[]): Promise<void> {
  let batch: IRequestOp[] = [];
  let bytes = 0;
  for (const operation of resourceOperations(keys, head.version, changes)) {
    const size = bytesOf([operation]);
    if (batch.length >= limits.operations || bytes + size > limits.transactionBytes) {
      if ((await transact(client, keys, head, batch, true)) === undefined) return;
      batch = [];
      bytes = 0;
    }
    batch.push(operation);
    bytes += size;
  }
  if (batch.length > 0 && (await transact(client, keys, head, batch, true)) === undefined) return;
  await transact(client, keys, head, [put(keys.version, writeHead({ ...head, pending: false }))], true);
}

async function stage(client: EtcdClient, keys: StoreKeys, version: number, text: Buffer): Promise<{ id: string; names: readonly string[] }> {
  const count = Math.ceil(text.length / limits.partBytes);
  if (count > limits.parts) {
    const most = limits.parts * limits.partBytes;
    throw new ConfigError([{ path: '', message: `the change has ${text.length} bytes with what was there before; etcd can take ${most} in one: apply it in several parts` }], 'resources');
  }
  const id = randomUUID();
  const lease = await client.grant(partsTtlMs);
  const names = Array.from({ length: count }, (_, index) => `${keys.parts(version, id)}/${String(index).padStart(4, '0')}`);
  for (const [index, name] of names.entries()) {
    const value = text.subarray(index * limits.partBytes, (index + 1) * limits.partBytes);
    await client.txn({ success: [{ request_put: { key: Buffer.from(name), value, lease: lease.id } }] }, { isRepeatable: true });
  }
  return { id, names };
}

async function transact(client: EtcdClient, keys: StoreKeys, head: Head, success: readonly IRequestOp[], isRepeatable = false): Promise<number | undefined> {
  const { succeeded, header } = await client.txn({ compare: [unchanged(keys.version, head.revision)], success: [...success] }, { isRepeatable });
  return succeeded ? Number(header.revision) : undefined;
}

function resourceOperations(keys: StoreKeys, version: number, changes: readonly ResourceChange[]): IRequestOp[] {
  return changes.map(({ kind, name, after }) => {
    const key = keys.resource(kind, name);
    if (after === undefined) return { request_delete_range: { key: Buffer.from(key) } };
    const value = JSON.stringify({ version, resource: after });
    if (value.length > limits.resourceBytes) throw new ConfigError([{ path: `${kind}/${name}`, message: `has ${value.length} characters as JSON; etcd takes ${limits.resourceBytes}: keep what is large in a file that it names` }], 'resources');
    return put(key, value);
  });
}

function bytesOf(operations: readonly IRequestOp[]): number {
  return operations.reduce((sum, { request_put: entry, request_delete_range: gone }) => sum + 32 + (entry?.key?.length ?? 0) + (entry?.value?.length ?? 0) + (gone?.key?.length ?? 0), 0);
}

function put(key: string, value: string): IRequestOp {
  return { request_put: { key: Buffer.from(key), value: Buffer.from(value) } };
}

function remove(from: string, to: string): IRequestOp {
  return { request_delete_range: { key: Buffer.from(from), range_end: Buffer.from(to) } };
}

/** Reads the text of a revision's changes from its parts. */
export async function readParts(client: EtcdClient, keys: StoreKeys, version: number, { id, count }: Parts, at?: number): Promise<ResourceChange[]> {
  const texts: Buffer[] = [];
  for (let index = 0; index < count; index++) {
    const { kvs } = await client.range({ key: Buffer.from(`${keys.parts(version, id)}/${String(index).padStart(4, '0')}`), ...(at !== undefined && { revision: at }) });
    if (kvs[0] === undefined) throw new StoreUnavailable('A part of a change is missing: history has been pruned meanwhile.');
    texts.push(kvs[0].value);
  }
  return JSON.parse(Buffer.concat(texts).toString()) as ResourceChange[];
}
