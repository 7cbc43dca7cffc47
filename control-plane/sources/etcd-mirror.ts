import { CompareTarget, type IEvent } from 'etcd3';
import { delay, type Clock } from '../../shared/clock/clock.js';
import { Cancellation } from '../../shared/http/cancellation.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { EtcdClient, IKeyValue, WatchStream } from './etcd-client.js';
import { prefixEnd } from './etcd-keys.js';

interface MirrorOptions {
  readonly client: EtcdClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  /** All keys that start with it. */
  readonly prefix: string;
  /** Takes everything as it was at one revision, in place of what was known. */
  readonly replace: (entries: readonly IKeyValue[], at: { readonly revision: number; readonly cluster: string }) => Promise<void> | void;
  /** Takes what happened, in order; a revision is never cut in two. False: read everything again. */
  readonly apply: (events: readonly IEvent[]) => boolean;
}

const pageSize = 1_000;
const minBackoffMs = 50;
const maxBackoffMs = 2_000;

/**
 * Keeps up with everything under a prefix: reads it all at one revision, then watches from the next one.
 *
 * When the watch ends, whatever the reason (etcd went away, the revision was compacted, a member hung), it reads everything again and
 * watches on. Resuming a watch where it ended would save the reading, and is where events get lost: the client library's own does.
 * In between, and while etcd is away, what was known last stays.
 */
export class EtcdMirror {
  readonly #stop = new Cancellation();
  readonly #running: Promise<void>;
  #isLive = false;
  #first!: () => void;
  #failed!: (error: Error) => void;
  /** Resolves when everything was read for the first time. Rejects when it is closed before. */
  readonly ready = new Promise<void>((resolve, reject) => {
    this.#first = resolve;
    this.#failed = reject;
  });

  constructor(private readonly options: MirrorOptions) {
    this.ready.catch(() => {});
    this.#running = this.#run();
  }

  /** Whether it watches, as far as it knows. */
  get isLive(): boolean {
    return this.#isLive;
  }

  async close(): Promise<void> {
    this.#stop.cancel(new Error('the process is stopping'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { client, clock, random, logger, prefix } = this.options;
    const isStopped = (): boolean => this.#stop.isCancelled;
    let failures = 0;
    while (!isStopped()) {
      try {
        const { entries, revision, cluster } = await readAll(client, prefix);
        await this.options.replace(entries, { revision, cluster });
        await this.#watch(revision + 1, () => {
          failures = 0;
          this.#first();
        });
      } catch (error) {
        if (isStopped()) break;
        if (failures++ === 0) logger.warn({ prefix, reason: (error as Error).message }, 'the watch on etcd ended; everything is read again');
        const wait = random() * Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(failures, 8));
        await delay(clock, Math.max(5, wait), this.#stop).catch(() => {});
      } finally {
        this.#isLive = false;
      }
    }
    this.#failed(new Error('the process is stopping'));
  }

  /** Resolves when everything is to be read again; rejects when the watch breaks. */
  async #watch(revision: number, onLive: () => void): Promise<void> {
    const { client, prefix, apply } = this.options;
    const stream: WatchStream = await client.watch({ key: Buffer.from(prefix), range_end: prefixEnd(prefix), start_revision: revision, progress_notify: true });
    const unsubscribe = this.#stop.onCancel(() => stream.cancel());
    try {
      await new Promise<void>((resolve, reject) => {
        stream.on('error', reject);
        stream.on('end', () => reject(new Error('the stream ended')));
        stream.on('data', (response) => {
          if (response.canceled) return reject(new Error(response.compact_revision === '0' ? response.cancel_reason : `revision ${revision} was compacted`));
          if (response.created) {
            this.#isLive = true;
            onLive();
          }
          if (response.events.length > 0 && !apply(response.events)) resolve();
        });
      });
    } finally {
      unsubscribe();
      stream.on('error', () => {});
      stream.cancel();
    }
  }
}

/** Reads in pages, all of them at the revision of the first. */
export async function readAll(client: EtcdClient, prefix: string, at?: number): Promise<{ entries: IKeyValue[]; revision: number; cluster: string }> {
  const entries: IKeyValue[] = [];
  const range_end = prefixEnd(prefix);
  let key = Buffer.from(prefix);
  let revision = at;
  for (;;) {
    const { header, kvs, more } = await client.range({ key, range_end, limit: pageSize, ...(revision !== undefined && { revision }) });
    revision ??= Number(header.revision);
    for (const entry of kvs) entries.push(entry);
    if (!more) return { entries, revision, cluster: header.cluster_id };
    key = Buffer.concat([kvs.at(-1)!.key, Buffer.of(0)]);
  }
}

/** A condition of a transaction: the key was last changed at this revision; 0: it is not there. */
export function unchanged(key: string, revision: number): { key: Buffer; target: CompareTarget; mod_revision: number } {
  return { key: Buffer.from(key), target: CompareTarget.Mod, mod_revision: revision };
}
