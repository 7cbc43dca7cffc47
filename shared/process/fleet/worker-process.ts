import cluster, { type Worker } from 'node:cluster';
import { createBirpc, type BirpcReturn } from 'birpc';
import type { MetricObject } from 'prom-client';
import type { DrainOptions } from '../../listener/listener.js';
import { writeToStderr } from '../../telemetry/logger.js';
import type { Assignment, FrontFunctions, WorkerFunctions } from './messages.js';
import { closeUnanswered, type HandOverHooks, type HandOvers } from './unanswered-connections.js';

/** How long a worker may take to answer (ms). One that stands still is ended before that (`watch`), and so has refused nothing. */
const answerTimeoutMs = 60_000;

/** How a worker ended. */
interface WorkerExit {
  readonly code: number | null;
  readonly signal: string | null;
}

/** One worker, from its fork to its exit. */
export class WorkerProcess {
  /** It serves: it accepts connections, and is not on its way out. */
  isServing = false;
  /** It was told to listen: it may have connections, whether or not all of its ports could be opened. */
  mayHaveConnections = false;
  /** Its exit is wanted. */
  isLeaving = false;
  /** It was told to break off what is in flight. */
  isBreakingOff = false;
  /** What it counted, when it was last asked. */
  lastMetrics: MetricObject[] = [];
  /** What it had then (see `Collected`). */
  endpoints: readonly string[] | undefined;
  hasExited = false;
  readonly exited: Promise<WorkerExit>;
  readonly call: BirpcReturn<WorkerFunctions, FrontFunctions>;
  readonly #worker: Worker;
  readonly #handOvers: HandOvers;
  readonly #introduced: Promise<unknown>;
  #hasBidFarewell = false;

  constructor(
    count: FrontFunctions['count'],
    /** Its number among those of its set. */
    readonly index = 0,
    hooks: HandOverHooks = {},
  ) {
    const worker = cluster.fork();
    this.#worker = worker;
    // Node's last words, say, when memory runs out.
    worker.process.stderr?.on('data', writeToStderr);
    this.#handOvers = closeUnanswered(worker, {
      ...hooks,
      standsIn: () => {
        // Its exit may be told later.
        this.isServing = false;
        return hooks.standsIn?.() ?? false;
      },
    });
    let hello: (() => void) | undefined;
    const introduced = new Promise<void>((resolve) => (hello = resolve));
    const functions: FrontFunctions = { hello: () => hello!(), count, farewell: (metrics) => this.#bidFarewell(metrics) };
    this.call = createBirpc<WorkerFunctions, FrontFunctions>(functions, {
      // Not waited for: behind a connection that the worker does not take, a message is never sent. What is lost is answered by the worker's exit.
      post: (message: object) => void worker.send(message, () => {}),
      on: (receive) => worker.on('message', receive),
      timeout: answerTimeoutMs,
    });
    this.exited = new Promise<WorkerExit>((resolve) => {
      worker.once('exit', (code, signal) => resolve({ code, signal }));
      // Most errors are of the channel, whose end is told otherwise; but what could not be forked has no exit.
      worker.on('error', () => worker.isDead() && resolve({ code: worker.process.exitCode, signal: null }));
    }).then((exit) => {
      this.isServing = false;
      this.hasExited = true;
      this.call.$close(new Error('the worker has exited'));
      return exit;
    });
    this.#introduced = Promise.race([introduced, this.exited]);
  }

  get pid(): number {
    return this.#worker.process.pid!;
  }

  async create(assignment: Assignment): Promise<void> {
    await this.#introduced;
    await this.call.create(assignment);
  }

  /** Asks it whether it is there. The connections that it was handed before must be answered for before that: one that is not is lost. */
  async ping(): Promise<void> {
    const { unanswered } = this.#handOvers;
    const handed = [...unanswered];
    await this.call.ping();
    if (handed.some((connection) => unanswered.has(connection))) throw new Error('it has not answered for a connection that it was handed');
  }

  /** Asks it what it counted; resolves when `lastMetrics` is that. */
  async collect(): Promise<void> {
    await this.#introduced;
    const { metrics, endpoints } = await this.call.collect();
    this.endpoints = endpoints;
    // An answer of before the farewell may be taken in after it.
    if (!this.#hasBidFarewell) this.lastMetrics = metrics;
  }

  async refreshIdentity(): Promise<void> {
    await this.#introduced;
    await this.call.refreshIdentity();
  }

  /** Lets it finish what is in flight, and exit. Resolves when it takes no more connections. */
  async drain(options?: DrainOptions): Promise<void> {
    this.isServing = false;
    this.isLeaving = true;
    await this.call.drain(options).catch(() => {});
  }

  /** Has it break off what is in flight. What never served has nothing to break off, and may not hear us yet. Resolves when it has exited. */
  async breakOff(): Promise<void> {
    if (!this.isServing && !this.isLeaving) return this.kill();
    this.isServing = false;
    this.isLeaving = true;
    this.isBreakingOff = true;
    await this.call.breakOff.asEvent().catch(() => {});
    await this.exited;
  }

  async kill(): Promise<void> {
    this.isServing = false;
    // What has exited was not killed.
    if (!this.hasExited) this.isLeaving = true;
    this.giveUp();
    await this.exited;
  }

  /** One that stands in for the next does not any more. */
  release(): void {
    this.#handOvers.release();
  }

  #bidFarewell(metrics: MetricObject[]): void {
    this.#hasBidFarewell = true;
    this.lastMetrics = metrics;
  }

  /** Ends one that does not work any more. Its exit is none that was wanted. */
  giveUp(): void {
    if (!this.#worker.isDead()) this.#worker.process.kill('SIGKILL');
  }
}
