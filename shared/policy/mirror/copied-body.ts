import type { Body, BodySink } from '../../http/body.js';
import { KeptBytes } from '../../http/kept-bytes.js';
import { PassedBody } from '../../http/passed-body.js';

/** The whole body, or why there is none. */
type Copy = Buffer | 'too_large' | 'incomplete';

/** A body that goes on as it comes, and of which a copy is kept while it does. */
export class CopiedBody extends PassedBody {
  #kept = new KeptBytes();
  #onCopy: ((copy: Copy) => void) | undefined;

  constructor(
    source: Body,
    private readonly maxBytes: number,
    /** Called once: when the body is whole, or will not be. */
    onCopy: (copy: Copy) => void,
  ) {
    super(source);
    this.#onCopy = onCopy;
  }

  pipe(sink: BodySink): void {
    this.source.pipe({
      chunk: (data) => {
        // The original first.
        const wantsMore = sink.chunk(data);
        this.#keep(data);
        return wantsMore;
      },
      end: (trailers) => {
        sink.end(trailers);
        this.#settle(() => this.#kept.join());
      },
      fail: (reason) => {
        sink.fail(reason);
        this.abandon();
      },
    });
  }

  override cancel(reason: Error): void {
    super.cancel(reason);
    this.abandon();
  }

  /** The body will not be whole, if it is not yet. */
  abandon(): void {
    this.#settle(() => 'incomplete');
  }

  #keep(data: Buffer): void {
    if (this.#onCopy === undefined) return;
    if (this.#kept.length + data.length > this.maxBytes) this.#settle(() => 'too_large');
    else this.#kept.add(data);
  }

  #settle(copy: () => Copy): void {
    const onCopy = this.#onCopy;
    if (onCopy === undefined) return;
    this.#onCopy = undefined;
    const outcome = copy();
    this.#kept = new KeptBytes();
    onCopy(outcome);
  }
}
