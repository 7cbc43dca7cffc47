import type { Clock, Timer } from '../../shared/clock/clock.js';
import type { Model } from '../model/model.js';
import { bridge, movesBetween, type Move } from './bridge.js';
import type { Subscriber } from './subscriber.js';

/** How long the old place waits for the new one (ms): for proxies that do not answer. */
const longestWaitMs = 500;
/** How long a proxy that refused may be away and still be counted on to come back (ms): it sees a dead stream after 30 s, and tries every 5 s at least. */
const longestAbsenceMs = 60_000;

/*
 * Moving what admits requests from one place to the other, with no moment in which it is in neither.
 *
 *   at rest --(a model in which something moves)--> bridging --(the new places have it, or 500 ms)--> at rest
 *                                                     |   ^
 *                                (one of them refuses)|   |(it accepts or is gone, or the model changes)
 *                                                     v   |
 *                                                     held
 *
 * While bridging, everybody gets a model in which the moving settings are in both places. When each connected proxy of the new place has
 * accepted its snapshot, the model as it was written goes out, and the old place drops them. A proxy that does not answer is not waited for
 * longer than 500 ms: its stream is broken, or will be. But one that *refuses* the setting (it cannot read a key file, say) would leave the service open:
 * then the old place keeps it, and the status says so. A refusal stands until the same proxy says something else, whatever it is sent meanwhile: also
 * while its stream is broken, since it still has requests then, until it has been away for a minute.
 */

/** Which model goes out. */
export class Relocation {
  /** What goes out. */
  model: Model;
  /** What was written: the last that went out, and the one that is to. */
  #settled: Model;
  #wanted: Model;
  #moves: readonly Move[] = [];
  #timer: Timer | undefined;
  /** Until one that refused has been away for too long. */
  #absence: Timer | undefined;
  #held: readonly string[] = [];
  /** Whether the model has gone out. */
  #isOut = false;

  constructor(
    private readonly clock: Clock,
    model: Model,
    private readonly subscribers: () => Iterable<Subscriber>,
    /** Asks for a round. */
    private readonly publish: () => void,
  ) {
    this.model = this.#settled = this.#wanted = model;
  }

  /** What stays where it was, in a sentence each. */
  get held(): readonly string[] {
    return this.#held;
  }

  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  /** A round begins, and this is what was written. */
  next(written: Model): void {
    this.#isOut = false;
    if (written === this.#wanted) return;
    this.#wanted = written;
    this.#held = [];
    this.#moves = movesBetween(this.#settled, written);
    if (this.#moves.length === 0) {
      this.#arrive();
      this.model = written;
      return;
    }
    this.model = bridge(this.#settled, written, this.#moves);
  }

  /** The round is over: everybody was sent what there is. */
  sent(): void {
    this.#isOut = true;
  }

  /** Somebody answered, came or left. */
  progressed(): void {
    if (this.#isOut && this.#moves.length > 0) this.#decide(false);
  }

  close(): void {
    this.#stopWaiting();
  }

  #decide(isLate: boolean): void {
    if (isLate) this.#timer = undefined;
    const held: string[] = [];
    let isPending = false;
    let absenceMs = Infinity;
    for (const move of this.#moves) {
      for (const subscriber of this.subscribers()) {
        if (!concerns(move, subscriber)) continue;
        const leftMs = subscriber.leftAt === undefined ? Infinity : subscriber.leftAt + longestAbsenceMs - this.clock.now();
        if (leftMs > 0 && refuses(move, subscriber)) {
          held.push(`${move.setting} of ${move.service} stays in the ${move.from}: ${subscriber.proxy.node} refused it`);
          absenceMs = Math.min(absenceMs, leftMs);
        } else if (!subscriber.isSettled) isPending = true;
      }
    }
    this.#held = held;
    if (held.length > 0) {
      this.#stopWaiting();
      if (absenceMs < Infinity) this.#absence = this.clock.after(absenceMs, () => this.progressed());
      return;
    }
    if (isPending && !isLate) {
      // Somebody who changes things all the time puts nothing off for ever: the first move sets the time.
      this.#timer ??= this.clock.after(longestWaitMs, () => this.#decide(true));
      return;
    }
    this.#arrive();
    this.model = this.#wanted;
    this.publish();
  }

  #stopWaiting(): void {
    this.#timer?.cancel();
    this.#absence?.cancel();
    this.#timer = this.#absence = undefined;
  }

  #arrive(): void {
    this.#stopWaiting();
    this.#moves = [];
    this.#held = [];
    this.#isOut = false;
    this.#settled = this.#wanted;
  }
}

/** Whether a proxy is one of those that a setting moves to. */
function concerns({ to, service }: Move, { proxy }: Subscriber): boolean {
  return to === 'ambassador' ? proxy.kind === 'gateway' : proxy.kind === 'sidecar' && proxy.service === service;
}

/** Whether that is what it said last; it need not have answered for the newest. */
function refuses({ setting }: Move, { rejected, rejections }: Subscriber): boolean {
  return rejected !== undefined || rejections.some(({ path }) => path.endsWith(`.${setting}`) || /^routes\[\d+\]$/.test(path));
}
