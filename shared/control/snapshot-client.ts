import { isDeepStrictEqual } from 'node:util';
import { createParser, type EventSourceMessage } from 'eventsource-parser';
import { delay, type Clock } from '../clock/clock.js';
import { Cancellation } from '../http/cancellation.js';
import { isSuccess } from '../http-client/http-client.js';
import type { Logger } from '../telemetry/logger.js';
import type { ControlPlaneLink } from './control-plane-link.js';
import { keepEndpoints } from './keep-endpoints.js';
import { NothingLeft, putInForce, type Apply } from './put-in-force.js';
import { SnapshotFile, type KeptSnapshot, type Owner } from './snapshot-file.js';
import { maxRejections, snapshotSchema, type Answer, type Snapshot } from './snapshot.js';

interface SnapshotClientOptions extends Owner {
  readonly link: ControlPlaneLink;
  /** Whether this proxy can speak mutual TLS. */
  readonly hasIdentity: boolean;
  /** Where the last good snapshot is kept. */
  readonly snapshotFile?: string | undefined;
  readonly apply: Apply;
  readonly onConnected: (isConnected: boolean) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
}

/** The first wait is long enough for a thousand proxies, cut off at once, not to come back at once. */
const minBackoffMs = 500;
const maxBackoffMs = 5_000;
/** The control plane sends a comment every 10 s: a stream that is silent for longer is dead. */
const silenceMs = 30_000;
/** A stream that lived this long (ms) starts the waits anew: one that is cut off again and again, however good what it brought, does not. */
const steadyMs = 10_000;
/** How long the control plane may take over an answer (ms). */
const answerTimeoutMs = 5_000;
/** How long a start waits for a snapshot of a control plane that sends none (ms): of a proxy that has one already, and of one that has not. */
const patienceMs = 1_000;
const firstPatienceMs = 10_000;
const maxEventBytes = 16 * 1_024 * 1_024;

/**
 * Follows the control plane's stream of snapshots.
 *
 * A snapshot is applied, but for parts of it that are bad (put-in-force.ts); kept on disk; and accepted, or rejected with the reason while the
 * one before stays in force, as when it cannot be read. The stream may break at any time: the configuration stays, and the client comes back with full-jitter
 * backoff, to the next control plane if there are several. A control plane that has lost its memory takes nothing away (keep-endpoints.ts). At the
 * start the snapshot on disk is applied first, so that a proxy can start while the control plane is away.
 */
export class SnapshotClient {
  readonly #options: SnapshotClientOptions;
  readonly #file: SnapshotFile | undefined;
  readonly #stop = new Cancellation();
  /** What is in force of the control plane's. */
  #inForce: KeptSnapshot | undefined;
  /** Streams in a row that did not live long. */
  #failures = 0;
  /** Whether it was told that the control plane cannot be reached. */
  #isAway = false;
  #running: Promise<void> | undefined;
  /** The newest answer, while one before it is on its way. */
  #waiting: { readonly url: string; readonly answer: Answer } | undefined;
  #reporting: Promise<void> | undefined;

  constructor(options: SnapshotClientOptions) {
    const { node, kind, service, snapshotFile, logger } = options;
    this.#options = options;
    this.#file = snapshotFile === undefined ? undefined : new SnapshotFile(snapshotFile, { node, kind, service }, logger);
  }

  /** Resolves when a snapshot is in force, or when the first attempt to get one has failed, after ten seconds at the latest. With one from disk it waits a second for a newer one. */
  async start(): Promise<void> {
    await this.#applyFromDisk();
    const { clock, logger } = this.#options;
    const isFirst = this.#inForce === undefined;
    await new Promise<void>((resolve) => {
      const timer = clock.after(isFirst ? firstPatienceMs : patienceMs, () => {
        if (isFirst) logger.warn({ waitedMs: firstPatienceMs }, 'the control plane has sent no snapshot yet; starting without one');
        resolve();
      });
      this.#running = this.#follow(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  async close(): Promise<void> {
    this.#stop.cancel(new Error('the process is stopping'));
    await this.#running;
    await this.#reporting;
  }

  async #applyFromDisk(): Promise<void> {
    const { apply, logger, snapshotFile } = this.#options;
    const kept = await this.#file?.read();
    if (kept === undefined) return;
    try {
      const outcome = await putInForce(kept.document, { sources: {} }, undefined, apply);
      const rejections = [...kept.rejections, ...outcome.rejections].slice(0, maxRejections);
      this.#inForce = { ...kept, document: outcome.document, rejections };
      logger.info({ version: kept.version, ...(rejections.length > 0 && { rejections }) }, 'the last good snapshot is in force');
    } catch (error) {
      logger.warn({ err: error, snapshotFile }, 'the snapshot on disk cannot be used');
    }
  }

  async #follow(firstOutcome: () => void): Promise<void> {
    const { clock, random, logger, onConnected, link } = this.#options;
    const isStopped = (): boolean => this.#stop.isCancelled;
    while (!isStopped()) {
      const { url } = link;
      try {
        await this.#stream(url, firstOutcome);
      } catch (error) {
        if (isStopped()) break;
        if (!this.#isAway) logger.warn({ err: error, url }, 'the control plane cannot be reached; the configuration stays as it is');
        this.#isAway = true;
      }
      onConnected(false);
      link.failed(url);
      firstOutcome();
      const wait = random() * Math.min(maxBackoffMs, minBackoffMs * 2 ** Math.min(this.#failures++, 10));
      await delay(clock, Math.max(10, wait), this.#stop).catch(() => {});
    }
    firstOutcome();
  }

  async #stream(url: string, firstOutcome: () => void): Promise<void> {
    const { clock, kind, service, hasIdentity, logger, onConnected, link, node } = this.#options;
    const abort = new AbortController();
    const unsubscribe = this.#stop.onCancel((reason) => abort.abort(reason));
    const watchdog = (): { cancel: () => void } => clock.after(silenceMs, () => abort.abort(new Error('the stream went silent')));
    let timer = watchdog();
    let connectedAt = Infinity;
    try {
      // One that is in force but for parts is sent again after a break: they may be usable now.
      const has = this.#inForce?.rejections.length === 0 ? this.#inForce.version : undefined;
      const query = new URLSearchParams({ kind, ...(service === undefined ? {} : { service }), identity: String(hasIdentity) });
      const answer = await link.ask(url, `/v1/proxies/${encodeURIComponent(node)}/stream?${query.toString()}`, {
        signal: abort.signal,
        headers: { accept: 'text/event-stream', ...(has !== undefined && { 'last-event-id': has }) },
      });
      if (!isSuccess(answer.status)) throw new Error(`the control plane answered ${answer.status}`);
      this.#isAway = false;
      connectedAt = clock.now();
      onConnected(true);
      logger.info({ url }, 'connected to the control plane');
      // With a snapshot in force it may be that none comes.
      if (this.#inForce !== undefined) firstOutcome();
      /** Undefined is one that was too long. */
      const events: (EventSourceMessage | undefined)[] = [];
      const parser = createParser({
        onEvent: (message) => message.event === 'snapshot' && events.push(message),
        onError(error) {
          if (error.type !== 'max-buffer-size-exceeded') return;
          // The rest of it is no field that anybody knows; the next event is read again.
          parser.reset();
          events.push(undefined);
        },
        maxBufferSize: maxEventBytes,
      });
      const decoder = new TextDecoder();
      for await (const piece of answer.pieces) {
        timer.cancel();
        timer = watchdog();
        parser.feed(decoder.decode(piece, { stream: true }));
        if (events.length === 0) continue;
        // Whole snapshots: only the newest of those that arrived together matters.
        const newest = events.splice(0).at(-1);
        if (newest === undefined) logger.error({ maxEventBytes }, 'a snapshot is longer than is read; the configuration stays as it is');
        else await this.#receive(url, newest);
        firstOutcome();
      }
      logger.warn('the control plane ended the stream');
    } finally {
      timer.cancel();
      if (clock.now() - connectedAt >= steadyMs) this.#failures = 0;
      unsubscribe();
      abort.abort();
    }
  }

  async #receive(url: string, { id, data }: EventSourceMessage): Promise<void> {
    const { apply, logger } = this.#options;
    let snapshot: Snapshot;
    try {
      snapshot = snapshotSchema.parse(JSON.parse(data));
    } catch (error) {
      logger.error({ version: id, err: error }, 'a snapshot cannot be read; the configuration stays as it is');
      // The event has the version as its id.
      if (id !== undefined) this.#report(url, { version: id.slice(0, 64), accepted: false, reason: `it cannot be read: ${(error as Error).message}`.slice(0, 16_384) });
      return;
    }
    const { version } = snapshot;
    if (snapshot.blank && this.#inForce !== undefined) {
      logger.warn({ version }, 'the control plane has no resources at all; the configuration stays as it is');
      this.#report(url, { version, accepted: true });
      return;
    }
    const { document, kept } = keepEndpoints(snapshot, this.#inForce?.document);
    if (kept.length > 0) logger.info({ version, upstreams: kept.slice(0, 100) }, 'endpoints that the control plane does not know of (yet) are kept');
    try {
      this.#inForce = { version, ...(await putInForce(document, snapshot, this.#inForce?.document, apply)) };
    } catch (error) {
      const same = this.#sameAgain(version, error);
      if (same === undefined) {
        logger.error({ version, err: error }, 'a snapshot was rejected; the configuration stays as it is');
        this.#report(url, { version, accepted: false, reason: (error as Error).message.slice(0, 16_384) });
        return;
      }
      this.#inForce = same;
    }
    const { rejections } = this.#inForce;
    const isWhole = rejections.length === 0;
    if (isWhole) logger.info({ version }, 'a snapshot is in force');
    else logger.error({ version, rejections }, 'a snapshot is in force but for what was rejected of it, which stays as it was');
    await this.#file?.write(this.#inForce);
    this.#report(url, { version, accepted: true, ...(!isWhole && { rejections: [...rejections] }) });
  }

  /**
   * What is in force, where a snapshot that could not be put in force has no other good parts than that, and no other bad ones: it came before,
   * or differs in what the document does not show. It stands as the first time.
   */
  #sameAgain(version: string, error: unknown): KeptSnapshot | undefined {
    const inForce = this.#inForce;
    const rejections = error instanceof NothingLeft ? error.rejections.slice(0, maxRejections) : undefined;
    if (inForce === undefined || (version !== inForce.version && !isDeepStrictEqual(rejections, inForce.rejections))) return undefined;
    return { ...inForce, version, ...(rejections && { rejections }) };
  }

  /**
   * Best effort, and beside the stream, which tells soon enough whether the control plane is there: one that takes its time over an answer keeps no
   * snapshot waiting. One at a time, so that none overtakes another; of those that wait only the newest counts.
   */
  #report(url: string, answer: Answer): void {
    this.#waiting = { url, answer };
    this.#reporting ??= this.#sendAnswers();
  }

  async #sendAnswers(): Promise<void> {
    while (this.#waiting !== undefined && !this.#stop.isCancelled) {
      const { url, answer } = this.#waiting;
      this.#waiting = undefined;
      await this.#send(url, answer);
    }
    this.#reporting = undefined;
  }

  async #send(url: string, answer: Answer): Promise<void> {
    const { link, node, logger } = this.#options;
    const abort = new AbortController();
    const unsubscribe = this.#stop.onCancel((reason) => abort.abort(reason));
    const signal = AbortSignal.any([abort.signal, AbortSignal.timeout(answerTimeoutMs)]);
    try {
      const accepted = await link.ask(url, `/v1/proxies/${encodeURIComponent(node)}/status`, { method: 'POST', body: JSON.stringify(answer), headers: { 'content-type': 'application/json' }, signal });
      accepted.discard();
    } catch (error) {
      if (!this.#stop.isCancelled) logger.warn({ err: error }, 'an answer did not reach the control plane');
    } finally {
      unsubscribe();
    }
  }
}
