import type { Clock, Timer } from '../../shared/clock/clock.js';
import type { Rejection } from '../../shared/control/snapshot.js';
import { compileSnapshot, Round, type CompiledSnapshot, type Truth } from '../compile/compile-snapshot.js';
import type { Proxy } from '../compile/compile.js';
import type { Model } from '../model/model.js';
import type { InstanceSource } from '../sources/instances.js';
import type { PublishMetrics } from './publish-metrics.js';
import { Relocation } from './relocation.js';
import { Subscriber, type ProxyStatus, type Stream } from './subscriber.js';

export type { ProxyStatus, Stream } from './subscriber.js';

interface PublisherOptions {
  /** The resources; `version` is 0 when nothing was ever stored. */
  readonly store: { readonly model: Model; readonly version: number };
  readonly instances: Pick<InstanceSource, 'endpoints' | 'standing'>;
  readonly clock: Clock;
  readonly metrics?: PublishMetrics | undefined;
}

/** Proxies that are connected at a time; more are refused. */
const maxConnected = 10_000;
/** Statuses of proxies that are gone are kept up to this number. */
const maxRemembered = 10_000;
/** Snapshots that are kept until the next round, for those who connect meanwhile. */
const maxCompiled = 2_000;
/** Least time between two rounds (ms): what changes meanwhile goes out together. A change that nothing came before goes out at once. */
export const roundGapMs = 50;
/** How long a round may keep the event loop at a time (ms), beside the snapshot that it is at: streams, leases and answers are waiting. */
const longestTurnMs = 20;

/**
 * Sends every proxy the newest snapshot of its configuration, when and only when it changed.
 *
 * Changes are gathered into rounds: the first goes out as soon as its author was answered, those within `roundGapMs` of it in the next one, so that a
 * hundred registrations make two or three snapshots and none waits longer. In a round a snapshot is compiled once for all the proxies
 * that it is the same for. Its version is a digest of the content, so a proxy that comes back with what it already has costs nothing.
 * A reader that does not keep up gets the newest snapshot once it has drained, and none of those in between: nothing queues up for
 * it, and nobody waits for it.
 *
 * What admits requests is moved make-before-break (relocation.ts): the new place gets it first, the old one loses it when the new has it.
 */
export class Publisher {
  readonly #subscribers = new Map<string, Subscriber>();
  readonly #progress = new Set<() => void>();
  readonly #relocation: Relocation;
  /** Snapshots of this round, by the key of who gets them. */
  #compiled = new Map<string, CompiledSnapshot>();
  #common = new Round();
  /** What this round compiles; the relocation may have gone on. */
  #truth: Truth;
  #connected = 0;
  #changedAt: number | undefined;
  #roundAt = -Infinity;
  #timer: Timer | undefined;
  /** Whether a round is not through yet: the next begins after it. */
  #isUnderWay = false;

  constructor(private readonly options: PublisherOptions) {
    const { clock, store } = options;
    this.#relocation = new Relocation(clock, store.model, () => this.#subscribers.values(), () => this.publish());
    this.#truth = this.#present();
  }

  get statuses(): ProxyStatus[] {
    return [...this.#subscribers.values()].map(({ status }) => status);
  }

  get counts(): { connected: number; rejecting: number } {
    return { connected: this.#connected, rejecting: [...this.#subscribers.values()].filter(({ isConnected, isRejecting }) => isConnected && isRejecting).length };
  }

  /** Moves that wait because the new place does not take them: what stays where, in a sentence each. */
  get held(): readonly string[] {
    return this.#relocation.held;
  }

  /** Whether everything that changed has gone out, and every connected proxy has answered for its newest snapshot. */
  get isSettled(): boolean {
    if (this.#timer !== undefined || this.#isUnderWay || this.#relocation.isWaiting) return false;
    for (const subscriber of this.#subscribers.values()) if (!subscriber.isSettled) return false;
    return true;
  }

  /** Whether no more proxies can connect. */
  get isFull(): boolean {
    return this.#connected >= maxConnected;
  }

  /**
   * Connects a proxy, that may say which version it has. A second stream of the same node ends the first. Returns the disconnection.
   */
  connect(proxy: Proxy, stream: Stream, has?: string): () => void {
    const known = this.#subscribers.get(proxy.node);
    known?.stream?.close();
    if (known?.stream !== undefined) this.#disconnect(known, known.stream);
    const subscriber = new Subscriber(proxy, stream, (bytes) => this.options.metrics?.sent(bytes));
    if (known !== undefined) subscriber.inherit(known);
    // Last in the order of the map: those that have been gone for longest are forgotten first.
    this.#subscribers.delete(proxy.node);
    this.#subscribers.set(proxy.node, subscriber);
    this.#connected++;
    this.#forgetOldest();
    const snapshot = this.#snapshotFor(subscriber);
    if (snapshot.version === has) subscriber.has(snapshot);
    else subscriber.update(snapshot, undefined);
    this.#progressed();
    return () => {
      this.#disconnect(subscriber, stream);
      this.#progressed();
    };
  }

  /** The reader of a stream has taken everything. */
  drained(node: string, stream: Stream): void {
    const subscriber = this.#subscribers.get(node);
    if (subscriber?.stream === stream) subscriber.drained();
  }

  /**
   * A proxy's answer to a snapshot: why it is not in force, or else which parts of it are not. Returns false for a proxy that never
   * connected.
   */
  answer(node: string, version: string, reason: string | undefined, rejections: readonly Rejection[] = []): boolean {
    const subscriber = this.#subscribers.get(node);
    if (subscriber === undefined) return false;
    const changedAt = subscriber.answer(version, reason, rejections);
    if (changedAt !== undefined) this.options.metrics?.pushed(this.options.clock.now() - changedAt);
    this.#progressed();
    return true;
  }

  /** Resources or registry changed: whoever is concerned gets a new snapshot, within `roundGapMs`. */
  publish(): void {
    const { clock } = this.options;
    this.#changedAt ??= clock.now();
    if (this.#isUnderWay) return;
    this.#timer ??= clock.after(Math.max(0, this.#roundAt + roundGapMs - clock.now()), () => this.#round());
  }

  /** Runs `callback` whenever somebody answered, connected or left. Returns the unsubscription. */
  onProgress(callback: () => void): () => void {
    this.#progress.add(callback);
    return () => this.#progress.delete(callback);
  }

  close(): void {
    this.#timer?.cancel();
    this.#relocation.close();
    for (const { stream } of this.#subscribers.values()) stream?.close();
  }

  #round(): void {
    const { store } = this.options;
    this.#timer = undefined;
    const changedAt = this.#changedAt;
    this.#changedAt = undefined;
    this.#relocation.next(store.model);
    this.#truth = this.#present();
    this.#compiled = new Map();
    this.#common = new Round();
    this.#isUnderWay = true;
    this.#update([...this.#subscribers.values()], changedAt);
  }

  /** Sends the round's snapshots, a turn of the event loop after the other. Whoever connects meanwhile gets the round's too. */
  #update(subscribers: readonly Subscriber[], changedAt: number | undefined): void {
    const { clock } = this.options;
    const turnEndsAt = clock.now() + longestTurnMs;
    for (const [index, subscriber] of subscribers.entries()) {
      if (subscriber.isConnected) subscriber.update(this.#snapshotFor(subscriber), changedAt);
      if (clock.now() >= turnEndsAt && index + 1 < subscribers.length) {
        this.#timer = clock.after(0, () => this.#update(subscribers.slice(index + 1), changedAt));
        return;
      }
    }
    this.#timer = undefined;
    this.#isUnderWay = false;
    this.#relocation.sent();
    // A round that takes long leaves as much time for everything else.
    this.#roundAt = clock.now();
    if (this.#changedAt !== undefined) this.publish();
    this.#progressed();
  }

  #present(): Truth {
    return { model: this.#relocation.model, isBlank: this.options.store.version === 0 };
  }

  #snapshotFor({ key, proxy }: Subscriber): CompiledSnapshot {
    let snapshot = this.#compiled.get(key);
    if (snapshot === undefined) {
      const { clock, instances, metrics } = this.options;
      const startedAt = clock.now();
      snapshot = compileSnapshot(this.#truth, instances, proxy, this.#common);
      // Only somebody who connects again and again, each time as another service, makes so many.
      if (this.#compiled.size >= maxCompiled) this.#compiled.clear();
      this.#compiled.set(key, snapshot);
      metrics?.compiled(clock.now() - startedAt);
    }
    return snapshot;
  }

  #disconnect(subscriber: Subscriber, stream: Stream): void {
    if (subscriber.stream !== stream) return;
    subscriber.disconnected(this.options.clock.now());
    this.#connected--;
  }

  #progressed(): void {
    this.#relocation.progressed();
    for (const callback of this.#progress) callback();
  }

  #forgetOldest(): void {
    if (this.#subscribers.size <= maxRemembered) return;
    for (const [node, { isConnected }] of this.#subscribers) {
      if (isConnected) continue;
      this.#subscribers.delete(node);
      return;
    }
  }
}
