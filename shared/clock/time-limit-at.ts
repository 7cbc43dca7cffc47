import { Cancellation } from '../http/cancellation.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { Clock } from './clock.js';
import { TimeoutHeap, type HeapEntry } from './timeout-heap.js';

/** As `TimeLimit`, for limits that differ from request to request. */
export class TimeLimitAt {
  readonly #heap: TimeoutHeap;
  readonly #error: () => Error;

  constructor(clock: Clock, error: () => Error) {
    this.#heap = new TimeoutHeap(clock);
    this.#error = error;
  }

  /** Calls `start` with the request under a cancellation of its own, which strikes at `expiresAt`, a clock reading. */
  async run(request: HttpRequest, expiresAt: number, start: (request: HttpRequest) => Promise<HttpResponse>): Promise<HttpResponse> {
    const limited = new CancellationAt(expiresAt, this.#error);
    request.cancellation.subscribe(limited);
    this.#heap.add(limited);
    try {
      return await start({ ...request, cancellation: limited });
    } finally {
      this.#heap.remove(limited);
    }
  }
}

class CancellationAt extends Cancellation implements HeapEntry {
  heapIndex = -1;

  constructor(
    readonly expiresAt: number,
    private readonly error: () => Error,
  ) {
    super();
  }

  onExpire(): void {
    this.cancel(this.error());
  }
}
