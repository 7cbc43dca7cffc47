import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type { Clock } from '../../shared/clock/clock.js';

/** How long a name waits for its turn (ms): those behind one whose name server hangs are given up, and do not pile up. */
const patienceMs = 5_000;

/**
 * Looks names up as the system does, its hosts file and search domains included. That takes a thread for as long as name servers are silent, and
 * Node.js gives two of its four to look-ups: so one at a time, and the other is left for the names of upstreams.
 */
export class SystemResolver {
  readonly #waiting = new Set<() => void>();
  #isBusy = false;

  constructor(
    private readonly clock: Clock,
    private readonly ask: (name: string) => Promise<readonly string[]> = askSystem,
  ) {}

  /** All addresses of a name; an address is its own. */
  resolve(name: string): Promise<readonly string[]> {
    if (isIP(name) !== 0) return Promise.resolve([name]);
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        timer.cancel();
        this.ask(name).then(resolve, reject).finally(() => this.#next());
      };
      const timer = this.clock.after(patienceMs, () => {
        this.#waiting.delete(turn);
        reject(new Error(`${name} was not looked up within ${patienceMs} ms: another look-up takes longer`));
      });
      this.#waiting.add(turn);
      if (!this.#isBusy) this.#next();
    });
  }

  #next(): void {
    const [turn] = this.#waiting;
    this.#isBusy = turn !== undefined;
    if (turn === undefined) return;
    this.#waiting.delete(turn);
    turn();
  }
}

async function askSystem(name: string): Promise<readonly string[]> {
  return (await lookup(name, { all: true })).map(({ address }) => address);
}
