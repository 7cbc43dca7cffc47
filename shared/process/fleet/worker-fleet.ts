import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import { AggregatorRegistry, type MetricObject } from 'prom-client';
import { delay } from '../../clock/clock.js';
import { ProxyMetrics } from '../../telemetry/proxy-metrics.js';
import type { UpstreamDescription } from '../../upstream/upstream-set.js';
import type { ProxyConfig, ProxyDefinition, Shared } from '../proxy.js';
import type { ProcessContext } from '../run-process.js';
import type { Fleet } from './fleet.js';
import type { ListenFailure } from './messages.js';
import { mergeUpstreams } from './merge.js';
import { QuotaCounters } from './quota-counters.js';
import { watch } from './watchdog.js';
import { WorkerProcess } from './worker-process.js';

/** How long a replacement waits after a crash: from the first to the last (ms), doubling while they crash as soon as they start, or cannot start. */
const firstRestartDelayMs = 100;
const lastRestartDelayMs = 10_000;
/** A worker that lived this long did not crash because it was started (ms). */
const longLifeMs = 10_000;
/** How long a worker may take to break off what it has open (ms); then it is killed, and its connections just end. */
const breakOffTimeoutMs = 5_000;
/** How long the collection of metrics waits for a worker; one that is late is left with what it said before (ms). */
const collectTimeoutMs = 2_000;

/**
 * A proxy in several processes that share its ports.
 *
 * This process, the front, accepts connections and hands each to the next worker in turn (node:cluster); it does
 * not touch what goes over them. A worker that crashes, or stands still, is replaced, and this is tried until it succeeds. A reload brings up
 * a second set of workers and drains the first, while the ports stay open here: no connection is refused, and none broken off before
 * `drainTimeout`.
 */
export class WorkerFleet<Config extends ProxyConfig, Dynamic extends Shared> implements Fleet<Config, Dynamic> {
  readonly metrics = new ProxyMetrics();
  readonly #ticketSecret = randomBytes(32);
  readonly #counters: QuotaCounters;
  /** The present ones; those that a reload brings up; and those of before a reload, on their way out. */
  #workers = new Set<WorkerProcess>();
  #next = new Set<WorkerProcess>();
  readonly #leaving = new Set<WorkerProcess>();
  #config: Config;
  /** What holds until the next restart is read from here. */
  readonly #first: Config;
  /** Counters and histograms of workers that are gone: totals never go down. */
  #departed: MetricObject[] = [];
  #restartDelayMs = 0;
  #isReplacing = false;
  #isListening = false;
  #isClosing = false;
  /** Exchanges of configuration come one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly definition: ProxyDefinition<Config, Dynamic>,
    config: Config,
    private readonly size: (config: Config) => number,
    private readonly context: ProcessContext<Config>,
  ) {
    this.#config = config;
    this.#first = config;
    this.#counters = new QuotaCounters(context.clock);
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.setupPrimary({ exec: process.argv[1]!, args: process.argv.slice(2), serialization: 'advanced' });
  }

  async create(): Promise<void> {
    await this.#createInto(this.#workers, this.#config);
  }

  async listen(): Promise<Readonly<Record<string, AddressInfo>>> {
    const addresses = await listenAll([...this.#workers]);
    this.#isListening = true;
    // One that exited before it listened was not missed yet.
    void this.#replaceMissing();
    return addresses;
  }

  isServing(): boolean {
    return [...this.#workers].some(({ isServing }) => isServing);
  }

  apply(dynamic: Dynamic): Promise<void> {
    return this.#inTurn(async () => {
      const { withDynamic, dynamicOf } = this.definition;
      const workers = [...this.#workers];
      const outcomes = await Promise.allSettled(workers.map(({ call }) => call.apply(dynamic)));
      // A worker that exited meanwhile refused nothing: its replacement starts with what is in force then.
      const refused = outcomes.find((outcome, index) => outcome.status === 'rejected' && !workers[index]!.hasExited);
      if (refused?.status === 'rejected') {
        const before = dynamicOf(this.#config);
        await Promise.allSettled(workers.filter((_, index) => outcomes[index]!.status === 'fulfilled').map(({ call }) => call.apply(before)));
        throw refused.reason;
      }
      this.#config = withDynamic(this.#config, dynamic);
    });
  }

  reload(config: Config): Promise<void> {
    return this.#inTurn(async () => {
      const { logger } = this.context;
      const fixed = (['admin', 'controlPlane', 'logLevel', 'drainDelay', 'drainTimeout'] as const).filter((part) => !isDeepStrictEqual(this.#first[part], config[part]));
      if (fixed.length > 0) logger.warn({ parts: fixed }, 'these parts stay as they were until the next restart');
      const next = new Set<WorkerProcess>();
      this.#next = next;
      try {
        this.#refuseIfClosing();
        await this.#createInto(next, config);
        this.#refuseIfClosing();
        await listenAll([...next]);
        this.#refuseIfClosing();
      } catch (error) {
        await this.#abandon(next);
        // What a drain has ended failed for that reason alone.
        this.#refuseIfClosing();
        throw error;
      }
      const previous = this.#workers;
      this.#workers = next;
      this.#next = new Set();
      this.#config = config;
      // Nor was one of the new ones, until now.
      void this.#replaceMissing();
      for (const worker of previous) void this.#retire(worker);
    });
  }

  async refreshIdentity(): Promise<void> {
    // One that cannot answer looks by itself before long.
    await Promise.allSettled([...this.#workers, ...this.#leaving].map(({ call }) => call.refreshIdentity()));
  }

  async upstreams(): Promise<UpstreamDescription[]> {
    const answers = await Promise.allSettled([...this.#workers].map(({ call }) => call.upstreams()));
    return mergeUpstreams(answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : [])));
  }

  async collect(): Promise<string> {
    const workers = [...this.#workers, ...this.#leaving];
    const late = delay(this.context.clock, collectTimeoutMs);
    await Promise.all(workers.map((worker) => Promise.race([worker.collect().catch(() => {}), late])));
    const own = await this.metrics.registry.getMetricsAsJSON();
    return AggregatorRegistry.aggregate([...workers.map(({ lastMetrics }) => lastMetrics), own, this.#departed]).metrics();
  }

  async drain(): Promise<void> {
    this.#isClosing = true;
    // One that is still starting has nothing in flight, and may not hear us yet.
    const present = [...this.#workers, ...this.#next].map((worker) => (worker.isServing ? worker.drain() : worker.kill()));
    await Promise.all([...present, ...[...this.#leaving].map((worker) => worker.drain())]);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    await Promise.all([...this.#workers, ...this.#next, ...this.#leaving].map((worker) => this.#breakOff(worker)));
  }

  #refuseIfClosing(): void {
    if (this.#isClosing) throw new Error('the proxy is draining');
  }

  /** Ends those of a reload that failed. Some may have been handed connections already; and what drains goes on draining. */
  async #abandon(workers: Set<WorkerProcess>): Promise<void> {
    const present = [...workers].filter(({ isLeaving }) => !isLeaving);
    for (const worker of present.filter(({ isServing }) => isServing)) void this.#retire(worker);
    await Promise.all(present.filter(({ isLeaving }) => !isLeaving).map((worker) => worker.kill()));
  }

  /** Lets one of before a reload finish what is in flight, as long as a drain may take. */
  async #retire(worker: WorkerProcess): Promise<void> {
    const { clock, logger } = this.context;
    const { drainTimeout } = this.#first;
    this.#leaving.add(worker);
    const timer = clock.after(drainTimeout, () => {
      logger.warn({ pid: worker.pid, drainTimeoutMs: drainTimeout }, 'requests in flight of before a reload were broken off at the end of the drain timeout');
      void this.#breakOff(worker);
    });
    await worker.drain({ keepIdle: true });
    timer.cancel();
    this.#leaving.delete(worker);
  }

  async #breakOff(worker: WorkerProcess): Promise<void> {
    const { clock, logger } = this.context;
    const timer = clock.after(breakOffTimeoutMs, () => {
      logger.error({ pid: worker.pid }, 'a worker does not end; it is killed');
      worker.giveUp();
    });
    await worker.breakOff();
    timer.cancel();
  }

  #inTurn<T>(change: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(change);
    this.#turn = done.catch(() => {});
    return done;
  }

  async #createInto(workers: Set<WorkerProcess>, config: Config): Promise<void> {
    await Promise.all(Array.from({ length: this.size(config) }, () => this.#create(workers, config)));
  }

  /** Ends the worker if it cannot be created. */
  async #create(workers: Set<WorkerProcess>, config: Config): Promise<WorkerProcess> {
    const { clock, logger } = this.context;
    const worker = new WorkerProcess((increments) => this.#counters.count(increments));
    const startedAt = clock.now();
    workers.add(worker);
    const endWatch = watch(
      clock,
      () => worker.call.ping(),
      () => {
        logger.error({ pid: worker.pid }, 'a worker does not answer; it is ended');
        worker.giveUp();
      },
    );
    void worker.exited.then(async ({ code, signal }) => {
      endWatch();
      workers.delete(worker);
      this.#departed = await totals([this.#departed, worker.lastMetrics]);
      // One that was drained by a signal of its own left in order, and is missed all the same.
      if (worker.isLeaving || this.#isClosing || workers !== this.#workers || !this.#isListening) return;
      this.metrics.workerExit();
      logger.error({ pid: worker.pid, code, signal }, 'a worker has exited; another takes its place');
      if (clock.now() - startedAt >= longLifeMs) this.#restartDelayMs = 0;
      void this.#replaceMissing();
    });
    try {
      await worker.create({ config, workers: this.size(config), ticketSecret: this.#ticketSecret });
    } catch (error) {
      await worker.kill();
      throw error;
    }
    logger.info({ pid: worker.pid }, 'a worker has started');
    return worker;
  }

  /** Adds workers until there are as many as there should be, however many tries that takes. Runs once at a time. */
  async #replaceMissing(): Promise<void> {
    if (this.#isReplacing) return;
    this.#isReplacing = true;
    while (this.#missing() > 0) {
      // Outside of the turn: what is applied meanwhile reaches those that live.
      await delay(this.context.clock, this.#restartDelayMs);
      this.#restartDelayMs = Math.min(lastRestartDelayMs, Math.max(firstRestartDelayMs, this.#restartDelayMs * 2));
      // Where one could start, the others can.
      for (let tries = this.#missing(); tries > 0 && (await this.#inTurn(() => this.#addMissing())); tries--);
    }
    this.#isReplacing = false;
  }

  /** Adds one, if one is missing; resolves with whether it did. */
  async #addMissing(): Promise<boolean> {
    if (this.#missing() === 0) return false;
    let worker: WorkerProcess | undefined;
    try {
      worker = await this.#create(this.#workers, this.#config);
      await listenAll([worker]);
      return true;
    } catch (error) {
      if (!this.#isClosing) this.context.logger.error({ err: error }, 'a worker could not be replaced');
      await worker?.kill();
      return false;
    }
  }

  /** How many there should be beside those that there are. */
  #missing(): number {
    return this.#isClosing ? 0 : this.size(this.#config) - this.#workers.size;
  }
}

/**
 * One after the other at first: a Unix domain socket that a crash left behind must be taken away once, and a port that
 * is free for one is free for all.
 */
async function listenAll([first, ...others]: WorkerProcess[]): Promise<Readonly<Record<string, AddressInfo>>> {
  const addresses = await listen(first!);
  await Promise.all(others.map(listen));
  return addresses;
}

async function listen(worker: WorkerProcess): Promise<Readonly<Record<string, AddressInfo>>> {
  const listening = await worker.call.listen();
  if ('failure' in listening) throw Object.assign(new Error(listening.failure.message), listening.failure satisfies ListenFailure, { syscall: 'listen' });
  worker.isServing = true;
  return listening.addresses;
}

async function totals(all: readonly MetricObject[][]): Promise<MetricObject[]> {
  const metrics = await AggregatorRegistry.aggregate([...all]).getMetricsAsJSON();
  return metrics.filter(({ type }) => String(type) === 'counter' || String(type) === 'histogram');
}
