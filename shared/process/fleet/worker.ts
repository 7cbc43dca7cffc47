import cluster from 'node:cluster';
import { createBirpc } from 'birpc';
import type { DrainOptions } from '../../listener/listener.js';
import { systemClock } from '../../clock/clock.js';
import { LastKnown } from '../../config/last-known.js';
import { collectMetrics } from '../../telemetry/exposition.js';
import { createLogger } from '../../telemetry/logger.js';
import { DataPlane } from '../data-plane.js';
import type { Prepared, Proxy, ProxyConfig, ProxyDefinition, Shared } from '../proxy.js';
import { exitCodes, exitOnDefects } from '../run-process.js';
import { Turns } from '../turns.js';
import { letYoungGenerationGrow } from '../young-generation.js';
import { workerOutput, type Collected, type FrontFunctions, type ListenFailure, type WorkerFunctions } from './messages.js';
import { shareOf, type Seat } from './share.js';
import { SharedCounters } from './shared-counters.js';

/** The life of one of several processes that share a proxy's ports: it does what its front says, and ends with it. */
export function runWorker<Config extends ProxyConfig, Dynamic extends Shared>(definition: ProxyDefinition<Config, Dynamic>): void {
  let proxy: Proxy<Dynamic> | undefined;
  let dataPlane: DataPlane | undefined;
  let seat: Seat = { index: 0, workers: 1 };
  let lastKnown = new LastKnown();
  let isLeaving = false;
  let prepared: Prepared | undefined;
  /** What is said of a version waits until it is built: the front may have given that up. */
  const turns = new Turns();

  const discard = (): void => {
    const version = prepared;
    prepared = undefined;
    version?.discard();
  };

  const collect = async (): Promise<Collected> => ({ metrics: dataPlane === undefined ? [] : await collectMetrics(dataPlane.metrics.registry), endpoints: dataPlane?.endpoints.all() });

  const breakOff = async (): Promise<void> => {
    if (isLeaving) return;
    isLeaving = true;
    await proxy?.close();
    await front.farewell((await collect()).metrics);
    dataPlane?.close();
    process.exit(exitCodes.ok);
  };

  const drain = async (options?: DrainOptions): Promise<void> => {
    await proxy?.drain(options);
    await breakOff();
  };

  const functions: WorkerFunctions = {
    ping: () => {},
    async create(assignment) {
      const config = assignment.config as Config;
      const logger = createLogger({ name: definition.kind, level: config.logLevel, descriptor: workerOutput.stderr }).child({ worker: cluster.worker!.id });
      exitOnDefects(logger);
      seat = assignment.seat;
      lastKnown = new LastKnown(assignment.lastKnown);
      dataPlane = new DataPlane(systemClock, logger, {
        accessLog: config.accessLog,
        zone: config.zone,
        identity: config.identity,
        stdout: { descriptor: workerOutput.stdout, isShared: true },
        keepsSeries: true,
        counter: new SharedCounters((increments) => front.count(increments), systemClock),
        ticketSecret: assignment.ticketSecret,
        lastKnown,
      });
      proxy = await definition.create(shareOf(config, seat), dataPlane);
      lastKnown.forgetUnused();
    },
    async listen() {
      try {
        const addresses = await proxy!.listen();
        letYoungGenerationGrow();
        return { addresses };
      } catch (error) {
        const { message, code, address, port } = error as ListenFailure;
        return { failure: { message, code, address, port } };
      }
    },
    prepare: (dynamic) =>
      turns.take(async () => {
        discard();
        prepared = await proxy!.prepare(shareOf(dynamic as Dynamic, seat));
      }),
    commit: () =>
      turns.take(async () => {
        const version = prepared!;
        prepared = undefined;
        version.commit();
      }),
    discard: () => turns.take(async () => discard()),
    refreshIdentity: async () => dataPlane?.refreshIdentity(),
    upstreams: () => proxy?.upstreams() ?? [],
    collect,
    lastKnown: () => lastKnown.all(),
    async drain(options) {
      // Closes every listener before it waits for anything.
      void drain(options);
    },
    breakOff: () => void breakOff(),
  };

  const front = createBirpc<FrontFunctions, WorkerFunctions>(functions, {
    // A front that is gone is told of by the channel's end.
    post: (message) => process.send!(message, undefined, undefined, () => {}),
    on: (receive) => process.on('message', receive),
  });
  // Signals to the whole group reach our front too, which tells us what to do and when; with its end we end. SIGUSR1 would open node's debugger.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP', 'SIGUSR1'] as const) process.on(signal, () => {});
  void front.hello.asEvent();
}
