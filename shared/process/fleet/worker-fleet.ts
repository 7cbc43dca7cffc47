import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import type { MetricObject } from 'prom-client';
import { delay } from '../../clock/clock.js';
import { inTurns } from '../../clock/long-work.js';
import type { OnRefusal } from '../../listener/connection-limits.js';
import { collectMetrics, exposition } from '../../telemetry/exposition.js';
import { ProxyMetrics } from '../../telemetry/proxy-metrics.js';
import { refusalReport } from '../../telemetry/refusal-report.js';
import type { UpstreamDescription } from '../../upstream/upstream-set.js';
import type { ProxyConfig, ProxyDefinition, Shared } from '../proxy.js';
import type { ProcessContext } from '../run-process.js';
import { Turns } from '../turns.js';
import type { Fleet } from './fleet.js';
import { listenAll } from './listen-all.js';
import { addUp, mergeUpstreams, sums, totals, withoutOtherEndpoints } from './merge.js';
import { workerStdio, type Assignment } from './messages.js';
import { QuotaCounters } from './quota-counters.js';
import { smallLimits } from './share.js';
import { watch } from './watchdog.js';
import { WorkerProcess } from './worker-process.js';

/** How long a replacement waits after a crash: from the first to the last (ms), doubling while they crash as soon as they start, or cannot start. */
const firstRestartDelayMs = 100;
const lastRestartDelayMs = 10_000;
/** A worker that lived this long did not crash because it was started (ms). */
const longLifeMs = 10_000;
/** How many sets of workers may be on their way out at a time, each of before another reload. */
const maxLeaving = 2;
/** How long a worker may take to break off what it has open (ms); then it is killed, and its connections just end. */
const breakOffTimeoutMs = 5_000;
/** How often a configuration is tried that no worker survives, or that comes while there is none. */
const maxBuilds = 3;
/** How long is waited for what workers say at once, if they say anything (ms). */
const promptAnswerMs = 2_000;

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
  readonly #onRefusal: OnRefusal;
  /** The present ones; those that a reload brings up; and those of before a reload, on their way out, the oldest set first. */
  #workers = new Set<WorkerProcess>();
  #next = new Set<WorkerProcess>();
  #leaving: Set<WorkerProcess>[] = [];
  /** The last that served, which is dead and keeps the ports open until another listens. */
  #standIn: WorkerProcess | undefined;
  #config: Config;
  /** Counters and histograms of workers that are gone: totals never go down. */
  #departed: MetricObject[] = [];
  /** Limits that were warned of, by their paths. */
  #smallLimits: string[] = [];
  #restartDelayMs = 0;
  /** Told when a worker has taken the place of one that exited. */
  #onReplaced: (() => void) | undefined;
  #isReplacing = false;
  #isListening = false;
  #isClosing = false;
  /** Exchanges of configuration, and replacements. */
  readonly #turns = new Turns();

  constructor(
    private readonly definition: ProxyDefinition<Config, Dynamic>,
    config: Config,
    private readonly size: (config: Config) => number,
    private readonly context: ProcessContext<Config>,
  ) {
    this.#config = config;
    this.#counters = new QuotaCounters(context.clock);
    this.#onRefusal = refusalReport('front', { ...context, metrics: this.metrics });
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.setupPrimary({ exec: process.argv[1]!, args: process.argv.slice(2), serialization: 'advanced', stdio: workerStdio });
  }

  async create(): Promise<void> {
    await this.#createInto(this.#workers, this.#config);
    this.#warnOfSmallLimits();
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

  /** First all build it, and only then it is put in force: one that is refused leaves every worker as it was, with all that it holds. What none has built is tried with those that come. */
  async apply(dynamic: Dynamic): Promise<void> {
    for (let tries = 1; !(await this.#turns.take(() => this.#applyToPresent(dynamic))); tries++) {
      this.#refuseIfClosing();
      if (tries === maxBuilds) throw new Error('no worker lives long enough to build it');
      await Promise.race([new Promise<void>((resolve) => (this.#onReplaced = resolve)), delay(this.context.clock, lastRestartDelayMs)]);
    }
  }

  /** Resolves with whether there was any to build it. */
  async #applyToPresent(dynamic: Dynamic): Promise<boolean> {
    const workers = [...this.#workers];
    const outcomes = await Promise.allSettled(workers.map(({ call }) => call.prepare(dynamic)));
    // A worker that exited meanwhile refused nothing: its replacement starts with what is in force then.
    const refused = outcomes.find((outcome, index) => outcome.status === 'rejected' && !workers[index]!.hasExited);
    if (refused?.status === 'rejected') {
      // One that cannot discard it serves what is in force all the same.
      await Promise.allSettled(workers.map(({ call }) => call.discard()));
      throw refused.reason;
    }
    if (outcomes.every(({ status }) => status === 'rejected')) return false;
    // What replaces a worker from here on starts with it.
    this.#config = this.definition.withDynamic(this.#config, dynamic);
    await Promise.all(workers.map((worker) => this.#commit(worker)));
    this.#warnOfSmallLimits();
    return true;
  }

  /** One that cannot put in force what it has built is ended: what it serves is not known. */
  async #commit(worker: WorkerProcess): Promise<void> {
    try {
      await worker.call.commit();
    } catch (error) {
      if (worker.hasExited) return;
      this.context.logger.error({ workerPid: worker.pid, err: error }, 'a worker cannot put its configuration in force; it is ended');
      worker.giveUp();
      await worker.exited;
    }
  }

  reload(config: Config): Promise<void> {
    return this.#turns.take(async () => {
      const next = new Set<WorkerProcess>();
      this.#next = next;
      try {
        this.#refuseIfClosing();
        await this.#createInto(next, config);
        this.#refuseIfClosing();
        await listenAll([...next]);
        this.#endStandIn();
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
      this.#warnOfSmallLimits();
      // Nor was one of the new ones, until now.
      void this.#replaceMissing();
      // From then on every connection meets the new configuration, unless a worker is too busy to hear that it is replaced.
      await Promise.race([this.#retire(previous), this.#promptness()]);
    });
  }

  async refreshIdentity(): Promise<void> {
    // One that cannot answer looks by itself before long.
    await Promise.race([Promise.allSettled(this.#all().map((worker) => worker.refreshIdentity())), this.#promptness()]);
  }

  async upstreams(): Promise<UpstreamDescription[]> {
    const late = this.#promptness().then(() => undefined);
    const answers = await Promise.all([...this.#workers].map(({ call }) => Promise.race([call.upstreams().catch(() => undefined), late])));
    return mergeUpstreams(answers.filter((answer) => answer !== undefined));
  }

  async collect(): Promise<Buffer> {
    const late = this.#promptness();
    // One that is late is left with what it said before.
    await Promise.all(this.#all().map((worker) => Promise.race([worker.collect().catch(() => {}), late])));
    this.#retireEndpoints();
    const own = await collectMetrics(this.metrics.registry);
    // Those that exited meanwhile are among the departed now.
    const present = [...this.#workers, ...this.#next].map(({ lastMetrics }) => lastMetrics);
    // They have connections and requests, and a configuration that is not in force.
    const leaving = this.#leaving.flatMap((set) => [...set].map(({ lastMetrics }) => sums(lastMetrics)));
    return exposition(await inTurns(addUp([...present, ...leaving, own, this.#departed])));
  }

  async drain(): Promise<void> {
    this.#isClosing = true;
    this.#endStandIn();
    // One that is still starting has nothing in flight, and may not hear us yet.
    await Promise.all(
      this.#all().map(async (worker) => {
        if (!worker.mayHaveConnections && !worker.isLeaving) return worker.kill();
        await worker.drain();
        await worker.exited;
      }),
    );
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#endStandIn();
    await Promise.all(this.#all().map((worker) => this.#breakOff(worker)));
  }

  #all(): WorkerProcess[] {
    return [this.#workers, this.#next, ...this.#leaving].flatMap((set) => [...set]);
  }

  #warnOfSmallLimits(): void {
    const workers = this.size(this.#config);
    const limits = smallLimits(this.#config, workers);
    const isNews = !isDeepStrictEqual(limits, this.#smallLimits);
    this.#smallLimits = limits;
    if (isNews && limits.length > 0) this.context.logger.warn({ limits, workers }, 'limits are smaller than the number of workers: each worker has one, which together is more');
  }

  #refuseIfClosing(): void {
    if (this.#isClosing) throw new Error('the proxy is draining');
  }

  /** Ends those of a reload that failed. What was told to listen may have been handed connections, and drains. */
  async #abandon(workers: Set<WorkerProcess>): Promise<void> {
    await Promise.all([...workers].filter(({ mayHaveConnections, isLeaving }) => !mayHaveConnections && !isLeaving).map((worker) => worker.kill()));
    this.#next = new Set();
    void this.#retire(workers);
  }

  /** Lets those of before a reload finish what is in flight. Where reloads come faster than that, the oldest do not wait for it: they would pile up. Resolves when they take no more connections. */
  async #retire(workers: Set<WorkerProcess>): Promise<void> {
    this.#leaving = [...this.#leaving, workers].filter(({ size }) => size > 0);
    const closed = [...workers].map((worker) => this.#letFinish(worker));
    const tooOld = this.#leaving.slice(0, -maxLeaving).flatMap((set) => [...set]);
    for (const worker of tooOld) void this.#breakOff(worker, 'requests in flight of before the last reloads were broken off: too many reloads within the drain timeout');
    await Promise.all(closed);
  }

  /** Resolves when it takes no more connections. */
  #letFinish(worker: WorkerProcess): Promise<void> {
    const timer = this.context.clock.after(this.#config.drainTimeout, () => {
      void this.#breakOff(worker, 'requests in flight of before a reload were broken off at the end of the drain timeout');
    });
    void worker.exited.then(() => timer.cancel());
    return worker.drain({ isReplaced: true });
  }

  async #breakOff(worker: WorkerProcess, warning?: string): Promise<void> {
    const { clock, logger } = this.context;
    if (warning !== undefined && !worker.isBreakingOff) logger.warn({ workerPid: worker.pid, drainTimeoutMs: this.#config.drainTimeout }, warning);
    const timer = clock.after(breakOffTimeoutMs, () => {
      logger.error({ workerPid: worker.pid }, 'a worker does not end; it is killed');
      worker.giveUp();
    });
    await worker.breakOff();
    timer.cancel();
  }

  /** Whether this one, which is dead, was the last that served. */
  #letStandIn(worker: WorkerProcess): boolean {
    if (this.#isClosing || !this.#isListening || worker.isLeaving || this.#standIn !== undefined) return false;
    if (this.#all().some((other) => other !== worker && other.isServing)) return false;
    this.#standIn = worker;
    return true;
  }

  #endStandIn(): void {
    this.#standIn?.release();
    this.#standIn = undefined;
  }

  /** What the departed counted of endpoints goes when no worker has them any more: addresses of pods come and go for ever. */
  #retireEndpoints(): void {
    const all = this.#all().map(({ endpoints }) => endpoints);
    // One that has not said what it has may have any.
    if (all.length === 0 || all.includes(undefined)) return;
    this.#departed = withoutOtherEndpoints(this.#departed, new Set(all.flatMap((endpoints) => endpoints ?? [])));
  }

  #promptness(): Promise<void> {
    return delay(this.context.clock, promptAnswerMs);
  }

  async #createInto(workers: Set<WorkerProcess>, config: Config): Promise<void> {
    const lastKnown = await this.#askWhatIsKnown();
    await Promise.all(Array.from({ length: this.size(config) }, () => this.#create(workers, config, lastKnown)));
  }

  /** What the present workers have learned: who comes after them starts with it, whether or not its sources answer. */
  async #askWhatIsKnown(): Promise<Assignment['lastKnown']> {
    const late = this.#promptness().then(() => undefined);
    const answers = await Promise.all([...this.#workers].filter(({ isServing }) => isServing).map(({ call }) => Promise.race([call.lastKnown().catch(() => undefined), late])));
    return [...new Map(answers.flatMap((answer) => answer ?? []))];
  }

  /** Ends the worker if it cannot be created. */
  async #create(workers: Set<WorkerProcess>, config: Config, lastKnown: Assignment['lastKnown']): Promise<WorkerProcess> {
    const { clock, logger } = this.context;
    const taken = new Set([...workers].map(({ index }) => index));
    let index = 0;
    while (taken.has(index)) index++;
    const worker: WorkerProcess = new WorkerProcess((increments) => this.#counters.count(increments), index, {
      onRefusal: () => this.#onRefusal('descriptors'),
      standsIn: () => this.#letStandIn(worker),
    });
    const startedAt = clock.now();
    workers.add(worker);
    const endWatch = watch(
      clock,
      () => worker.ping(),
      () => {
        logger.error({ workerPid: worker.pid }, 'a worker does not answer; it is ended');
        worker.giveUp();
      },
    );
    void worker.exited.then(({ code, signal }) => {
      endWatch();
      // In one step: whoever adds up finds what it counted once.
      workers.delete(worker);
      this.#departed = totals([this.#departed, worker.lastMetrics]);
      if (worker.isLeaving || this.#isClosing || workers !== this.#workers || !this.#isListening) return;
      this.metrics.workerExit();
      logger.error({ workerPid: worker.pid, code, signal }, 'a worker has exited; another takes its place');
      if (clock.now() - startedAt >= longLifeMs) this.#restartDelayMs = 0;
      void this.#replaceMissing();
    });
    try {
      await worker.create({ config, seat: { index, workers: this.size(config) }, ticketSecret: this.#ticketSecret, lastKnown });
    } catch (error) {
      await worker.kill();
      throw error;
    }
    logger.info({ workerPid: worker.pid }, 'a worker has started');
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
      for (let tries = this.#missing(); tries > 0 && (await this.#turns.take(() => this.#addMissing())); tries--);
    }
    this.#isReplacing = false;
  }

  /** Adds one, if one is missing; resolves with whether it did. */
  async #addMissing(): Promise<boolean> {
    if (this.#missing() === 0) return false;
    let worker: WorkerProcess | undefined;
    try {
      worker = await this.#create(this.#workers, this.#config, await this.#askWhatIsKnown());
      await listenAll([worker]);
      this.#endStandIn();
      this.#onReplaced?.();
      return true;
    } catch (error) {
      // Nobody knows how long the next try takes, and what waits takes the descriptors that it needs.
      this.#endStandIn();
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
