import type { Rejection } from '../../shared/control/snapshot.js';
import { snapshotKey, type CompiledSnapshot } from '../compile/compile-snapshot.js';
import type { Proxy } from '../compile/compile.js';

/** Versions that were sent last, of which a proxy may still tell. */
const maxAnswerable = 16;

/** Where a proxy's snapshots go. */
export interface Stream {
  /** Sends an event; false when the reader has not taken what was sent before. */
  send(event: Buffer): boolean;
  close(): void;
}

/** What is known of a proxy. */
export interface ProxyStatus extends Proxy {
  readonly connected: boolean;
  /** Version of the newest snapshot made for it. */
  readonly sent: string | undefined;
  /** Version that is in force there, but for the parts in `rejections`. */
  readonly accepted: string | undefined;
  readonly rejected: { readonly version: string; readonly reason: string } | undefined;
  readonly rejections: readonly Rejection[] | undefined;
}

/** One proxy: what it was sent, and what it said. Holds one snapshot at most that it has not been sent. */
export class Subscriber {
  readonly key: string;
  accepted: string | undefined;
  rejected: { readonly version: string; readonly reason: string } | undefined;
  rejections: readonly Rejection[] = [];
  /** Clock reading (ms) at which it left; undefined while it is connected. */
  leftAt: number | undefined;
  #newest: CompiledSnapshot | undefined;
  /** Clock reading (ms) of the change that the newest snapshot is for; undefined once it was answered. */
  #changedAt: number | undefined;
  #isBehind = false;
  /** Version that was handed to the stream last. */
  #sent: string | undefined;
  /** The last that it answered for on this stream. */
  #answered: string | undefined;
  /** Those that it may answer for, oldest first: it may be a few behind, but does not go back. */
  #answerable: readonly string[] = [];

  constructor(
    readonly proxy: Proxy,
    public stream: Stream | undefined,
    private readonly onSent: (bytes: number) => void,
  ) {
    this.key = snapshotKey(proxy);
  }

  get status(): ProxyStatus {
    const { proxy, stream, accepted, rejected, rejections } = this;
    return { ...proxy, connected: stream !== undefined, sent: this.#newest?.version, accepted, rejected, rejections: rejections.length > 0 ? rejections : undefined };
  }

  get isConnected(): boolean {
    return this.stream !== undefined;
  }

  /** Whether it has answered for what it was sent last. */
  get isSettled(): boolean {
    return this.stream === undefined || this.#newest?.version === this.#answered;
  }

  get isRejecting(): boolean {
    return this.rejected !== undefined || this.rejections.length > 0;
  }

  /** Takes on what another stream of the same proxy said: it stands until this one says something else. */
  inherit(before: Subscriber): void {
    if (before.proxy.kind !== this.proxy.kind || before.proxy.service !== this.proxy.service) return;
    this.accepted = before.accepted;
    this.rejected = before.rejected;
    this.rejections = before.rejections;
    this.#answerable = before.#answerable;
  }

  /** It says at the start what it has. */
  has(snapshot: CompiledSnapshot): void {
    this.#newest = snapshot;
    this.#mayAnswer(snapshot.version);
    this.answer(snapshot.version, undefined, []);
  }

  /** Sends what is new to it. */
  update(snapshot: CompiledSnapshot, changedAt: number | undefined): void {
    if (snapshot.version === this.#newest?.version) return;
    this.#newest = snapshot;
    this.#changedAt = changedAt;
    this.#send();
  }

  /** Its reader has taken everything: it gets the newest, and none of those in between. */
  drained(): void {
    if (!this.#isBehind) return;
    this.#isBehind = false;
    if (this.#sent !== this.#newest?.version) this.#send();
  }

  /** Returns the clock reading (ms) of the change that this is the first acceptance of. An answer for what it was never sent says nothing, nor does one that comes after that for a later version. */
  answer(version: string, reason: string | undefined, rejections: readonly Rejection[]): number | undefined {
    const index = this.#answerable.indexOf(version);
    if (index === -1) return undefined;
    this.#answerable = this.#answerable.slice(index);
    this.#answered = version;
    if (reason !== undefined) {
      this.rejected = { version, reason };
      return undefined;
    }
    this.accepted = version;
    this.rejected = undefined;
    this.rejections = rejections;
    if (version !== this.#newest?.version) return undefined;
    const changedAt = this.#changedAt;
    this.#changedAt = undefined;
    return changedAt;
  }

  /** What is remembered of it does not include a snapshot. */
  disconnected(now: number): void {
    this.stream = undefined;
    this.leftAt = now;
    if (this.#newest !== undefined) this.#newest = { version: this.#newest.version, event: Buffer.alloc(0) };
  }

  #mayAnswer(version: string): void {
    this.#answerable = [...this.#answerable.filter((other) => other !== version), version].slice(-maxAnswerable);
  }

  #send(): void {
    if (this.stream === undefined || this.#newest === undefined || this.#isBehind) return;
    const { version, event } = this.#newest;
    this.#sent = version;
    this.#mayAnswer(version);
    this.#isBehind = !this.stream.send(event);
    this.onSent(event.length);
  }
}
