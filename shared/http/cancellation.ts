/** Something that stops when what it belongs to is cancelled. */
export interface Cancellable {
  /** Called at most once for each subscription, and not after its end: what a subscriber does may end another's. */
  cancel(reason: Error): void;
}

/**
 * A one-way "stop, nobody wants this any more", passed down with a request.
 *
 * An `AbortSignal` would do, but making one for each request costs as much as parsing it. A child
 * is cancelled with its parent and can be cancelled alone: that is how one attempt is given up
 * while the request goes on.
 */
export class Cancellation implements Cancellable {
  #reason: Error | undefined;
  /** Most have one subscriber at a time, so the first needs no list. */
  #first: Cancellable | undefined;
  #others: Cancellable[] | undefined;

  get reason(): Error | undefined {
    return this.#reason;
  }

  get isCancelled(): boolean {
    return this.#reason !== undefined;
  }

  cancel(reason: Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const first = this.#first;
    this.#first = undefined;
    first?.cancel(reason);
    while (this.#others !== undefined && this.#others.length > 0) this.#others.shift()!.cancel(reason);
    this.#others = undefined;
  }

  /** Cancels `subscriber` with this, at once if it already happened. */
  subscribe(subscriber: Cancellable): void {
    if (this.#reason !== undefined) subscriber.cancel(this.#reason);
    else if (this.#first === undefined) this.#first = subscriber;
    else (this.#others ??= []).push(subscriber);
  }

  unsubscribe(subscriber: Cancellable): void {
    if (this.#first === subscriber) {
      this.#first = undefined;
    } else if (this.#others !== undefined) {
      const index = this.#others.indexOf(subscriber);
      if (index !== -1) this.#others.splice(index, 1);
    }
  }

  /** Runs `callback` on cancellation, at once if it already happened. Returns the unsubscription. */
  onCancel(callback: (reason: Error) => void): () => void {
    const subscriber = { cancel: callback };
    this.subscribe(subscriber);
    return () => this.unsubscribe(subscriber);
  }

  throwIfCancelled(): void {
    if (this.#reason !== undefined) throw this.#reason;
  }
}
