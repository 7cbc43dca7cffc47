import type { Etcd3, IDeleteRangeRequest, IKeyValue, IPutRequest, IRangeRequest, IRangeResponse, ITxnRequest, ITxnResponse, IWatchCreateRequest, IWatchResponse } from 'etcd3';
import type { Clock } from '../../shared/clock/clock.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { EtcdStoreConfig } from '../store-config.js';
import { connectTo } from './etcd-connection.js';
import { KeepAlives } from './etcd-keep-alive.js';
import { StoreUnavailable } from './store-unavailable.js';

export type { IDeleteRangeRequest, IKeyValue, IPutRequest, IRangeRequest, ITxnRequest, IWatchResponse };

/** A stream of watch responses. */
export interface WatchStream {
  on(event: 'data', callback: (response: IWatchResponse) => void): void;
  on(event: 'error', callback: (error: Error) => void): void;
  on(event: 'end', callback: () => void): void;
  write(request: { create_request: IWatchCreateRequest }): void;
  cancel(): void;
}

interface Connection {
  readonly etcd: Etcd3;
  readonly keepAlives: KeepAlives;
  readonly watches: Set<WatchStream>;
}

/**
 * One connection to etcd at a time, to one of its members; the next member's when it fails.
 *
 * Any failed call gives the connection up with everything on it: streams end with an error and are opened again by their owners elsewhere.
 * So a member that hangs, or has lost the others, cannot leave a watch silent while calls go through another one. Reads are tried at
 * every member; a change only where it certainly never arrived.
 */
export class EtcdClient {
  #connection: Promise<Connection> | undefined;
  #turn = 0;
  /** Undefined: not yet known. */
  #available: boolean | undefined;
  #closed = false;
  readonly #listeners = new Set<(isAvailable: boolean) => void>();

  constructor(
    private readonly config: EtcdStoreConfig,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {}

  /** Whether the last call was answered. */
  get isAvailable(): boolean {
    return this.#available === true;
  }

  /** The prefix of all keys, without a slash at its end. */
  get prefix(): string {
    return this.config.prefix.replace(/\/+$/, '');
  }

  /** Runs when etcd went away, and when it is back. */
  onAvailability(listener: (isAvailable: boolean) => void): void {
    this.#listeners.add(listener);
  }

  range(request: IRangeRequest): Promise<IRangeResponse> {
    return this.#call(({ etcd }) => etcd.kv.range(request), true);
  }

  /** A change that may be made twice is `isRepeatable`. */
  txn(request: ITxnRequest, { isRepeatable = false } = {}): Promise<ITxnResponse> {
    return this.#call(({ etcd }) => etcd.kv.txn(request), isRepeatable);
  }

  async grant(ttlMs: number): Promise<{ id: string; ttlMs: number }> {
    const { ID, TTL } = await this.#call(({ etcd }) => etcd.leaseClient.leaseGrant({ TTL: Math.ceil(ttlMs / 1_000) }), true);
    return { id: ID, ttlMs: Number(TTL) * 1_000 };
  }

  /** Renews a lease. Resolves with whether it was still there. */
  keepAlive(lease: string): Promise<boolean> {
    return this.#call(({ keepAlives }) => keepAlives.renew(lease), true);
  }

  /** Ends a lease, and what hangs on it. Best effort: it ends by itself. */
  async revoke(lease: string): Promise<void> {
    await this.#call(({ etcd }) => etcd.leaseClient.leaseRevoke({ ID: lease }), false).catch(() => {});
  }

  async watch(request: IWatchCreateRequest): Promise<WatchStream> {
    return this.#call(async ({ etcd, watches }) => {
      const stream = (await etcd.watchClient.watch()) as unknown as WatchStream;
      watches.add(stream);
      const forget = (): void => void watches.delete(stream);
      stream.on('end', forget);
      stream.on('error', forget);
      stream.write({ create_request: request });
      return stream;
    }, true);
  }

  /** Something on the connection fell silent or broke: the next call makes a new one, to the next member. */
  giveUp(): void {
    const connection = this.#connection;
    this.#connection = undefined;
    this.#turn++;
    void connection?.then(endConnection, () => {});
  }

  close(): void {
    this.#closed = true;
    this.giveUp();
  }

  async #call<T>(call: (connection: Connection) => Promise<T>, isRepeatable: boolean): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      if (this.#closed) throw new StoreUnavailable('The control plane is stopping.');
      const pending = (this.#connection ??= this.#connect());
      try {
        const result = await call(await pending);
        this.#setAvailable(true);
        return result;
      } catch (error) {
        if (isRefusal(error)) throw this.#refused(error as Error, pending);
        if (!isOutage(error)) throw error;
        // Others may have noticed before, and be on the next member already.
        if (this.#connection === pending) this.giveUp();
        const mayRepeat = isRepeatable || neverArrived(error);
        if (mayRepeat && attempt < this.config.endpoints.length) continue;
        this.#setAvailable(false, error as Error);
        throw new StoreUnavailable(mayRepeat ? 'The store cannot be reached.' : 'The store did not answer: the change may have been made, or not.', !mayRepeat, { cause: error });
      }
    }
  }

  /** etcd is there and will not: every member would say the same. */
  #refused(error: Error, connection: Promise<Connection>): StoreUnavailable {
    // Files are read again with the next connection: the password may have been exchanged.
    if (!/space exceeded/.test(error.message) && this.#connection === connection) this.giveUp();
    this.#setAvailable(false, error);
    return new StoreUnavailable('The store refuses what it is asked: its operator must see to it.', false, { cause: error });
  }

  async #connect(): Promise<Connection> {
    const { endpoints, timeout } = this.config;
    const etcd = await connectTo(endpoints[this.#turn % endpoints.length]!, this.config, () => new Date(this.clock.wallNow() + timeout));
    return { etcd, keepAlives: new KeepAlives(() => etcd.leaseClient.leaseKeepAlive(), this.clock, timeout), watches: new Set() };
  }

  #setAvailable(isAvailable: boolean, error?: Error): void {
    if (this.#available === isAvailable || this.#closed) return;
    this.#available = isAvailable;
    if (isAvailable) this.logger.info('etcd answers');
    else this.logger.error({ endpoints: this.config.endpoints, reason: error?.message }, 'etcd cannot be reached: snapshots stay as they are, and changes are refused');
    for (const listener of this.#listeners) listener(isAvailable);
  }
}

function endConnection({ etcd, keepAlives, watches }: Connection): void {
  for (const stream of watches) stream.cancel();
  keepAlives.close();
  etcd.close();
}

/** Of gRPC: cancelled, unknown, deadline exceeded, aborted, internal, unavailable. What streams end with is not translated by the library. */
const outageCodes: ReadonlySet<unknown> = new Set([1, 2, 4, 10, 13, 14]);

/** Whether etcd, and not the request, is what is wrong: it is away, has no leader, or does not answer. */
function isOutage(error: unknown): boolean {
  if (error instanceof StoreUnavailable) return false;
  const { constructor, message, code } = error as Error & { code?: unknown };
  return typeof code === 'string' || outageCodes.has(code) || /^GRPC(Unavailable|DeadlineExceeded|Cancelled|Internal|Unknown|Aborted|Generic)Error$|^ClientClosedError$/.test(constructor.name) || /no leader|leader changed|timed out/.test(message);
}

/** Whether etcd has no space left, or does not let us in. */
function isRefusal(error: unknown): boolean {
  const { constructor, message } = error as Error;
  return /^(Etcd(AuthenticationFailed|InvalidAuthToken|PermissionDenied)|GRPC(Unauthenticated|ResourceExhasted))Error$/.test(constructor.name) || /space exceeded|user name is empty/.test(message);
}

function neverArrived(error: unknown): boolean {
  const { message, code } = error as Error & { code?: unknown };
  return code === 'ENOENT' || code === 'EACCES' || /No connection established|ECONNREFUSED|ENOTFOUND|Name resolution failed|etcdserver: no leader/.test(message);
}
