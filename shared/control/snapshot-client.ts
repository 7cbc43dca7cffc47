import { readFile } from 'node:fs/promises';
import { createParser } from 'eventsource-parser';
import writeFileAtomic from 'write-file-atomic';
import { delay, type Clock } from '../clock/clock.js';
import { Cancellation } from '../http/cancellation.js';
import type { Logger } from '../telemetry/logger.js';

/** A version of configuration as a proxy receives it. */
export interface Snapshot {
  readonly version: string;
  readonly config: unknown;
}

export interface SnapshotClientOptions {
  /** Base address of the control plane. */
  readonly url: string;
  readonly token?: string | undefined;
  /** The name by which the control plane knows this proxy. */
  readonly node: string;
  readonly kind: 'gateway' | 'sidecar';
  readonly service?: string | undefined;
  /** Where the last good snapshot is kept. */
  readonly snapshotFile?: string | undefined;
  /** Puts a configuration in force, or rejects and leaves the one before in force. */
  readonly apply: (config: unknown) => Promise<void>;
  readonly onConnected: (isConnected: boolean) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

const minBackoffMs = 100;
const maxBackoffMs = 5_000;
/** The control plane sends a comment every 10 s: a stream that is silent for longer is dead. */
const silenceMs = 30_000;
const maxEventBytes = 16 * 1_024 * 1_024;

/**
 * Follows the control plane's stream of snapshots.
 *
 * A snapshot is applied, kept on disk and accepted, or rejected with the reason while the one before stays in
 * force. The stream may break at any time: the configuration stays, and the client comes back with full-jitter
 * backoff. At the start the snapshot on disk is applied first, so that a proxy can start while the control
 * plane is away.
 */
export class SnapshotClient {
  readonly #options: SnapshotClientOptions;
  readonly #stop = new Cancellation();
  #version: string | undefined;
  #failures = 0;
  #running: Promise<void> | undefined;

  constructor(options: SnapshotClientOptions) {
    this.#options = options;
  }

  /** Version in force, if any came from the control plane. */
  get version(): string | undefined {
    return this.#version;
  }

  /** Resolves when a snapshot is in force, or when the first attempt to get one has failed. */
  async start(): Promise<void> {
    await this.#applyFromDisk();
    await new Promise<void>((resolve) => {
      this.#running = this.#follow(resolve);
    });
  }

  async close(): Promise<void> {
    this.#stop.cancel(new Error('the process is stopping'));
    await this.#running;
  }

  async #applyFromDisk(): Promise<void> {
    const { snapshotFile, apply, logger } = this.#options;
    if (snapshotFile === undefined) return;
    try {
      const snapshot = JSON.parse(await readFile(snapshotFile, 'utf8')) as Snapshot;
      await apply(snapshot.config);
      this.#version = snapshot.version;
      logger.info({ version: snapshot.version }, 'the last good snapshot is in force');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
      logger.warn({ err: error, snapshotFile }, 'the snapshot on disk cannot be used');
    }
  }

  async #follow(firstOutcome: () => void): Promise<void> {
    const { clock, random, logger, onConnected } = this.#options;
    const isStopped = (): boolean => this.#stop.isCancelled;
    while (!isStopped()) {
      try {
        await this.#stream(firstOutcome);
      } catch (error) {
        if (isStopped()) break;
        if (this.#failures === 0) logger.warn({ err: error }, 'the control plane cannot be reached; the configuration stays as it is');
      }
      onConnected(false);
      firstOutcome();
      const wait = random() * Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(this.#failures++, 10));
      await delay(clock, Math.max(10, wait), this.#stop).catch(() => {});
    }
    firstOutcome();
  }

  async #stream(firstOutcome: () => void): Promise<void> {
    const { clock, kind, service, logger, onConnected } = this.#options;
    const abort = new AbortController();
    const unsubscribe = this.#stop.onCancel((reason) => abort.abort(reason));
    const watchdog = (): { cancel: () => void } => clock.after(silenceMs, () => abort.abort(new Error('the stream went silent')));
    let timer = watchdog();
    try {
      const query = new URLSearchParams({ kind, ...(service === undefined ? {} : { service }) });
      const response = await this.#fetch(`/stream?${query.toString()}`, { signal: abort.signal, headers: { accept: 'text/event-stream' } });
      if (!response.ok || response.body === null) throw new Error(`the control plane answered ${response.status}`);
      this.#failures = 0;
      onConnected(true);
      logger.info('connected to the control plane');
      const events: string[] = [];
      const parser = createParser({ onEvent: ({ event, data }) => event === 'snapshot' && events.push(data), maxBufferSize: maxEventBytes });
      const decoder = new TextDecoder();
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        timer.cancel();
        timer = watchdog();
        parser.feed(decoder.decode(chunk, { stream: true }));
        // Whole snapshots: only the newest of those that arrived together matters.
        const newest = events.splice(0).at(-1);
        if (newest === undefined) continue;
        await this.#receive(JSON.parse(newest) as Snapshot);
        firstOutcome();
      }
      logger.warn('the control plane ended the stream');
    } finally {
      timer.cancel();
      unsubscribe();
    }
  }

  async #receive({ version, config }: Snapshot): Promise<void> {
    const { apply, logger, snapshotFile } = this.#options;
    try {
      await apply(config);
    } catch (error) {
      logger.error({ version, err: error }, 'a snapshot was rejected; the configuration stays as it is');
      await this.#report({ version, accepted: false, reason: (error as Error).message });
      return;
    }
    this.#version = version;
    logger.info({ version }, 'a snapshot is in force');
    if (snapshotFile !== undefined) {
      await writeFileAtomic(snapshotFile, JSON.stringify({ version, config }), { mode: 0o600 }).catch((error: unknown) => logger.warn({ err: error }, 'the snapshot could not be kept on disk'));
    }
    await this.#report({ version, accepted: true });
  }

  /** Best effort: the stream that just delivered tells soon enough whether the control plane is there. */
  async #report(answer: { version: string; accepted: boolean; reason?: string }): Promise<void> {
    try {
      const response = await this.#fetch('/status', { method: 'POST', body: JSON.stringify(answer), headers: { 'content-type': 'application/json' }, signal: AbortSignal.timeout(5_000) });
      await response.body?.cancel();
    } catch (error) {
      this.#options.logger.warn({ err: error }, 'an answer did not reach the control plane');
    }
  }

  #fetch(path: string, init: RequestInit): Promise<Response> {
    const { url, node, token } = this.#options;
    const headers = { ...(init.headers as Record<string, string>), ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    return fetch(`${url.replace(/\/$/, '')}/v1/proxies/${encodeURIComponent(node)}${path}`, { ...init, headers, redirect: 'error' });
  }
}
