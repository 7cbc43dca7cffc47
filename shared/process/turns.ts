/** Changes to one thing, one after the other. */
export class Turns {
  #last: Promise<unknown> = Promise.resolve();

  /** Does `change` once those before it have ended, whether they succeeded or not. */
  take<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#last.then(change);
    this.#last = done.catch(() => {});
    return done;
  }
}
