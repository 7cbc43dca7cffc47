import type { Body, BodySink } from './body.js';
import type { Headers } from './headers.js';
import { KeptBytes } from './kept-bytes.js';

/**
 * A request body that can be sent more than once.
 *
 * While the first attempt streams it, its bytes are kept, up to `maxBytes`. Another attempt first gets what
 * was kept and then whatever is still to come. Past the cap nothing is kept and the body cannot be replayed.
 */
export class ReplayableBody {
  readonly #source: Body;
  readonly #maxBytes: number;
  #kept: KeptBytes | undefined;
  #overflowed = false;
  #started = false;
  #end: { trailers?: Headers | undefined; failure?: Error } | undefined;
  #sink: BodySink | undefined;

  constructor(source: Body, maxBytes: number) {
    this.#source = source;
    this.#maxBytes = maxBytes;
  }

  get canReplay(): boolean {
    return !this.#overflowed && this.#end?.failure === undefined;
  }

  /**
   * The attempt that reads is over, and there will be another: nobody reads until then. What the source hands over before it
   * stops is kept, whatever the cap: it has been told to stop, so that is one read.
   */
  detach(): void {
    this.#sink = undefined;
  }

  /** There will be no other attempt than the one that reads: nothing is kept any more. */
  release(): void {
    this.#overflowed = true;
    this.#kept = undefined;
  }

  /** The body for one attempt. An attempt before it that is still reading stops getting anything. */
  forAttempt(): Body {
    return {
      length: this.#source.length,
      whole: undefined,
      arrival: this.#source.arrival,
      pipe: (sink) => this.#attach(sink),
      resume: () => this.#source.resume(),
      // One attempt's end is not the end of the body: the next may want the rest.
      cancel: () => {
        this.#sink = undefined;
      },
    };
  }

  #attach(sink: BodySink): void {
    if (this.#overflowed && this.#started) {
      // The rest alone would pass for the whole.
      sink.fail(new Error('a body that is too long to be sent again'));
      return;
    }
    this.#sink = sink;
    let wantsMore = true;
    for (const block of this.#kept?.blocks ?? []) wantsMore = sink.chunk(block);
    if (this.#end?.failure !== undefined) sink.fail(this.#end.failure);
    else if (this.#end !== undefined) sink.end(this.#end.trailers);
    else if (!this.#started) this.#start();
    else if (wantsMore) this.#source.resume();
  }

  #start(): void {
    this.#started = true;
    // Known to be too long: nothing is kept, and it is sent once.
    if (this.#source.length !== undefined && this.#source.length > this.#maxBytes) this.#overflowed = true;
    this.#source.pipe({
      chunk: (data) => {
        this.#keep(data);
        // Between two attempts nobody reads: the client waits.
        return this.#sink === undefined ? false : this.#sink.chunk(data);
      },
      end: (trailers) => {
        this.#end = { trailers };
        this.#sink?.end(trailers);
      },
      fail: (failure) => {
        this.#end = { failure };
        this.#sink?.fail(failure);
      },
    });
  }

  #keep(data: Buffer): void {
    if (this.#overflowed) return;
    const kept = (this.#kept ??= new KeptBytes());
    if (kept.length + data.length > this.#maxBytes && this.#sink !== undefined) this.release();
    else kept.add(data);
  }
}
