import cliProgress from 'cli-progress';
import pc from 'picocolors';

/** Tells what is going on: bars on a terminal, lines elsewhere. Writes to stderr. */
export interface Progress {
  /** `done` of `all` steps of `what` are behind us. */
  step(what: string, done: number, all: number, detail: string): void;
  finish(): void;
}

export function createProgress(stream: NodeJS.WriteStream = process.stderr): Progress {
  return stream.isTTY ? new Bars(stream) : new Lines(stream);
}

class Bars implements Progress {
  readonly #multi: cliProgress.MultiBar;
  readonly #bars = new Map<string, cliProgress.SingleBar>();

  constructor(stream: NodeJS.WriteStream) {
    this.#multi = new cliProgress.MultiBar({ stream, format: '{bar} {what} {detail}', barsize: 24, hideCursor: true, clearOnComplete: false, forceRedraw: true }, cliProgress.Presets.shades_classic);
  }

  step(what: string, done: number, all: number, detail: string): void {
    const payload = { what: what.padEnd(46), detail: pc.dim(detail) };
    const bar = this.#bars.get(what);
    if (bar === undefined) this.#bars.set(what, this.#multi.create(all, done, payload));
    else bar.update(done, payload);
  }

  finish(): void {
    this.#multi.stop();
  }
}

class Lines implements Progress {
  constructor(private readonly stream: NodeJS.WriteStream) {}

  step(what: string, done: number, all: number, detail: string): void {
    this.stream.write(`[${done}/${all}] ${what}${detail === '' ? '' : `: ${detail}`}\n`);
  }

  finish(): void {}
}
