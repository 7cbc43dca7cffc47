import { createHash } from 'node:crypto';
import { compile, type Endpoints, type Proxy } from '../compile/compile.js';
import type { Model } from '../model/model.js';

/** Where a proxy's snapshots go. */
export interface Stream {
  /** Sends an event; false when the reader has not taken what was sent before. */
  send(version: string, data: string): boolean;
  close(): void;
}

/** What is known of a proxy. */
export interface ProxyStatus {
  readonly node: string;
  readonly kind: 'gateway' | 'sidecar';
  readonly service?: string | undefined;
  readonly connected: boolean;
  /** Version of the newest snapshot made for it. */
  readonly sent: string | undefined;
  readonly accepted: string | undefined;
  readonly rejected: { readonly version: string; readonly reason: string } | undefined;
}

interface Subscriber {
  readonly proxy: Proxy;
  stream: Stream | undefined;
  /** The newest snapshot: version, and the whole event. */
  version: string | undefined;
  data: string;
  isBehind: boolean;
  accepted: string | undefined;
  rejected: { version: string; reason: string } | undefined;
}

/** Statuses of proxies that are gone are kept up to this number. */
const maxRemembered = 10_000;

/**
 * Sends every proxy the newest snapshot of its configuration, when and only when it changed.
 *
 * A version is a digest of the content, so a proxy that comes back with what it already has costs nothing. A
 * reader that does not keep up gets the newest snapshot once it has drained, and none of those in between:
 * nothing queues up for it, and nobody waits for it.
 */
export class Publisher {
  readonly #subscribers = new Map<string, Subscriber>();
  readonly #waiting = new Set<() => void>();

  constructor(
    private readonly model: () => Model,
    private readonly endpoints: Endpoints,
  ) {}

  get statuses(): ProxyStatus[] {
    return [...this.#subscribers.values()].map(({ proxy, stream, version, accepted, rejected }) => ({
      ...proxy, connected: stream !== undefined, sent: version, accepted, rejected,
    }));
  }

  /** Whether every connected proxy has answered for its newest snapshot. */
  get isSettled(): boolean {
    return this.statuses.every(({ connected, sent, accepted, rejected }) => !connected || sent === accepted || sent === rejected?.version);
  }

  /** Connects a proxy. A second stream of the same node ends the first. Returns the disconnection. */
  connect(proxy: Proxy, stream: Stream): () => void {
    const known = this.#subscribers.get(proxy.node);
    known?.stream?.close();
    const subscriber: Subscriber = { proxy, stream, version: undefined, data: '', isBehind: false, accepted: known?.accepted, rejected: undefined };
    this.#subscribers.set(proxy.node, subscriber);
    this.#forgetOldest();
    this.#update(subscriber);
    return () => {
      if (subscriber.stream === stream) subscriber.stream = undefined;
      this.#settle();
    };
  }

  /** The reader of a stream has taken everything. */
  drained(node: string, stream: Stream): void {
    const subscriber = this.#subscribers.get(node);
    if (subscriber?.stream !== stream || !subscriber.isBehind) return;
    subscriber.isBehind = false;
    this.#send(subscriber);
  }

  /** A proxy's answer to a snapshot. Returns false for a proxy that never connected. */
  answer(node: string, version: string, reason: string | undefined): boolean {
    const subscriber = this.#subscribers.get(node);
    if (subscriber === undefined) return false;
    if (reason === undefined) {
      subscriber.accepted = version;
      subscriber.rejected = undefined;
    } else {
      subscriber.rejected = { version, reason };
    }
    this.#settle();
    return true;
  }

  /** Resources or registry changed: whoever is concerned gets a new snapshot. */
  publish(): void {
    for (const subscriber of this.#subscribers.values()) if (subscriber.stream !== undefined) this.#update(subscriber);
    this.#settle();
  }

  /** Runs `callback` whenever somebody answered, connected or left. Returns the unsubscription. */
  onProgress(callback: () => void): () => void {
    this.#waiting.add(callback);
    return () => this.#waiting.delete(callback);
  }

  close(): void {
    for (const { stream } of this.#subscribers.values()) stream?.close();
  }

  #update(subscriber: Subscriber): void {
    const config = JSON.stringify(compile(this.model(), this.endpoints, subscriber.proxy));
    const version = createHash('sha256').update(config).digest('base64url').slice(0, 16);
    if (version === subscriber.version) return;
    subscriber.version = version;
    subscriber.data = `{"version":"${version}","config":${config}}`;
    this.#send(subscriber);
  }

  #send(subscriber: Subscriber): void {
    const { stream, version, data } = subscriber;
    if (stream === undefined || version === undefined || subscriber.isBehind) return;
    subscriber.isBehind = !stream.send(version, data);
  }

  #settle(): void {
    for (const callback of this.#waiting) callback();
  }

  #forgetOldest(): void {
    if (this.#subscribers.size <= maxRemembered) return;
    for (const [node, { stream }] of this.#subscribers) {
      if (stream !== undefined) continue;
      this.#subscribers.delete(node);
      return;
    }
  }
}
