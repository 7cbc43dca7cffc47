import type { Arrival, Body, BodySink } from './body.js';

/** A body that comes piece by piece and is passed on, with something done on the way: `pipe` says what. */
export abstract class PassedBody implements Body {
  readonly whole = undefined;

  constructor(protected readonly source: Body) {}

  get length(): number | undefined {
    return this.source.length;
  }

  get arrival(): Arrival | undefined {
    return this.source.arrival;
  }

  abstract pipe(sink: BodySink): void;

  resume(): void {
    this.source.resume();
  }

  cancel(reason: Error): void {
    this.source.cancel(reason);
  }
}
