import type { ILeaseKeepAliveResponse } from 'etcd3';
import type { Clock, Timer } from '../../shared/clock/clock.js';

interface KeepAliveStream {
  on(event: 'data', callback: (response: ILeaseKeepAliveResponse) => void): unknown;
  on(event: 'error', callback: (error: Error) => void): unknown;
  on(event: 'end', callback: () => void): unknown;
  write(request: { ID: string }): unknown;
  cancel(): void;
}

interface Waiting {
  readonly promise: Promise<boolean>;
  readonly resolve: (isThere: boolean) => void;
  readonly reject: (error: Error) => void;
  readonly timer: Timer;
}

/** The renewals of all leases over one stream; those of one lease that come together are one. */
export class KeepAlives {
  #stream: Promise<KeepAliveStream> | undefined;
  readonly #waiting = new Map<string, Waiting>();

  constructor(
    private readonly open: () => Promise<unknown>,
    private readonly clock: Clock,
    private readonly timeoutMs: number,
  ) {}

  /** Resolves with whether the lease was still there. */
  renew(lease: string): Promise<boolean> {
    const known = this.#waiting.get(lease);
    if (known !== undefined) return known.promise;
    let settle!: Pick<Waiting, 'resolve' | 'reject'>;
    const promise = new Promise<boolean>((resolve, reject) => (settle = { resolve, reject }));
    const timer = this.clock.after(this.timeoutMs, () => this.#fail(new Error('a renewal timed out')));
    this.#waiting.set(lease, { promise, timer, ...settle });
    (this.#stream ??= this.#connect()).then((stream) => stream.write({ ID: lease }), (error: unknown) => this.#fail(error as Error));
    return promise;
  }

  close(): void {
    void this.#stream?.then((stream) => stream.cancel(), () => {});
    this.#fail(new Error('a renewal was cancelled: its connection timed out'));
  }

  async #connect(): Promise<KeepAliveStream> {
    const stream = (await this.open()) as KeepAliveStream;
    stream.on('data', ({ ID, TTL }) => this.#take(ID)?.resolve(Number(TTL) > 0));
    stream.on('error', (error) => this.#fail(error));
    stream.on('end', () => this.#fail(new Error('the stream of renewals ended: timed out')));
    return stream;
  }

  #take(lease: string): Waiting | undefined {
    const waiting = this.#waiting.get(lease);
    this.#waiting.delete(lease);
    waiting?.timer.cancel();
    return waiting;
  }

  #fail(error: Error): void {
    this.#stream = undefined;
    for (const lease of [...this.#waiting.keys()]) this.#take(lease)?.reject(error);
  }
}
