/**
 * A one-way "stop, nobody wants this any more", passed down with a request.
 *
 * An `AbortSignal` would do, but making one for each request costs as much as parsing it. A child
 * is cancelled with its parent and can be cancelled alone: that is how one attempt is given up
 * while the request goes on.
 */
export class Cancellation {
  #reason: Error | undefined;
  #callbacks: ((reason: Error) => void)[] = [];

  get reason(): Error | undefined {
    return this.#reason;
  }

  get isCancelled(): boolean {
    return this.#reason !== undefined;
  }

  cancel(reason: Error): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    const callbacks = this.#callbacks;
    this.#callbacks = [];
    for (const callback of callbacks) callback(reason);
  }

  /** Runs `callback` on cancellation, at once if it already happened. Returns the unsubscription. */
  onCancel(callback: (reason: Error) => void): () => void {
    if (this.#reason !== undefined) {
      callback(this.#reason);
      return () => {};
    }
    this.#callbacks.push(callback);
    return () => {
      const index = this.#callbacks.indexOf(callback);
      if (index !== -1) this.#callbacks.splice(index, 1);
    };
  }

  /** A cancellation that follows this one; `release` ends the link when the child's work is over. */
  child(): { cancellation: Cancellation; release: () => void } {
    const cancellation = new Cancellation();
    const release = this.onCancel((reason) => cancellation.cancel(reason));
    return { cancellation, release };
  }

  throwIfCancelled(): void {
    if (this.#reason !== undefined) throw this.#reason;
  }
}
