import cluster from 'node:cluster';
import { availableParallelism } from 'node:os';
import { isDeepStrictEqual } from 'node:util';
import { createAdminServer } from '../admin/admin-server.js';
import { delay } from '../clock/clock.js';
import { descriptorLimit } from '../listener/descriptors.js';
import type { Logger } from '../telemetry/logger.js';
import type { Fleet } from './fleet/fleet.js';
import { OneProcess } from './fleet/one-process.js';
import { runWorker } from './fleet/worker.js';
import { WorkerFleet } from './fleet/worker-fleet.js';
import type { ProxyConfig, ProxyDefinition, Shared } from './proxy.js';
import type { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { leaveSigusr1Alone, runProcess, type ProcessContext } from './run-process.js';
import { Turns } from './turns.js';

/**
 * Runs a proxy: here, or in as many workers as the configuration says.
 *
 * The process that was started is the front: it has the admin server, the connection to the control plane, and the signals. With workers,
 * the proxy itself runs in them alone.
 */
export async function runProxy<Config extends ProxyConfig, Dynamic extends Shared>(definition: ProxyDefinition<Config, Dynamic>): Promise<void> {
  if (cluster.isWorker) {
    leaveSigusr1Alone();
    runWorker(definition);
    return;
  }
  const { kind, description, schema, crossCheck } = definition;
  await runProcess({ name: kind, description, schema, crossCheck, start: (config, context) => startFront(definition, config, context) });
}

async function startFront<Config extends ProxyConfig, Dynamic extends Shared>(definition: ProxyDefinition<Config, Dynamic>, firstConfig: Config, context: ProcessContext<Config>): Promise<void> {
  const { clock, logger, lifecycle, schema, version } = context;
  const { kind, withDynamic, parseSnapshot } = definition;
  /** What the file says, the control plane's last word, and what both come to. */
  let fileConfig = firstConfig;
  let snapshot: unknown;
  let config = fileConfig;
  const turns = new Turns();
  warnOfFewDescriptors(definition.httpListeners(config), config, logger);
  const fleet = createFleet(definition, config, context);
  const { metrics } = fleet;
  lifecycle.onClose(() => fleet.close());

  const admin = createAdminServer({
    ...config.admin,
    logger,
    readiness: () => lifecycle.readiness(),
    metrics: { contentType: metrics.registry.contentType, collect: () => fleet.collect() },
    config: () => config,
    upstreams: () => fleet.upstreams(),
    drain: context.drain,
    schema,
    version,
  });
  lifecycle.onClose(() => admin.close());
  const adminAddress = await admin.listen();

  await enrolFront(kind, config, context, metrics, () => fleet.refreshIdentity());
  lifecycle.refuseIfDraining();
  await fleet.create();
  const beside = await definition.beside?.(config, context);
  lifecycle.refuseIfDraining();

  if (config.controlPlane !== undefined) {
    // Loaded on demand: a proxy that follows nobody needs none of it.
    const { followControlPlane } = await import('../control/follow-control-plane.js');
    await followControlPlane(config.controlPlane, {
      kind,
      service: beside?.service,
      zone: config.zone,
      identity: config.identity,
      register: beside?.registrant,
      apply: (document) =>
        turns.take(async () => {
          const dynamic = await parseSnapshot(document, fileConfig);
          await fleet.apply(dynamic);
          config = withDynamic(fileConfig, dynamic);
          snapshot = document;
        }),
      clock,
      // eslint-disable-next-line no-restricted-properties -- this is where chance enters
      random: Math.random,
      logger,
      lifecycle,
      metrics,
    });
  }

  lifecycle.refuseIfDraining();
  const addresses = await fleet.listen();
  context.onReload((file) =>
    turns.take(async () => {
      const changed = whoItIs.filter((part) => !isDeepStrictEqual(file[part], firstConfig[part]));
      if (changed.length > 0) throw new Error(`more has changed than can be exchanged: ${changed.join(', ')}. That takes a restart`);
      // Certificates and key sets are files too. One that takes long must not keep the configuration out.
      await Promise.race([fleet.refreshIdentity(), delay(clock, longestLookMs)]);
      const next = withPartsOfFront(file, firstConfig);
      const parts = partsOfFront.filter((part) => !isDeepStrictEqual(next[part as keyof Config], file[part as keyof Config]));
      if (parts.length > 0) logger.warn({ parts }, 'these parts stay as they were until the next restart');
      // The control plane's word goes before the file's.
      const effective = snapshot === undefined ? next : withDynamic(next, await parseSnapshot(snapshot, next));
      await fleet.reload(effective);
      await beside?.reload(file);
      fileConfig = next;
      config = effective;
    }),
  );
  lifecycle.onDrain(() => fleet.drain());
  lifecycle.require('no worker is serving', () => fleet.isServing());
  logger.info({ ...(beside && { service: beside.service }), ...addresses, admin: adminAddress }, 'ready');
}

/** Connections of HTTP take one descriptor at least, those of TCP two; with workers, each has its share of either. */
function warnOfFewDescriptors(httpListeners: number, { limits, tcp = [], workers }: ProxyConfig, logger: Logger): void {
  const connections = httpListeners * limits.maxConnections + 2 * tcp.reduce((sum, { maxConnections }) => sum + maxConnections, 0);
  const needed = Math.ceil(connections / sizeOf({ workers }));
  const descriptors = descriptorLimit();
  if (descriptors < needed) logger.warn({ descriptors, needed }, 'there are fewer descriptors (ulimit -n) than maxConnections needs: connections are closed before that is reached');
}

/** How long a reload waits for files of certificates and key sets (ms). */
const longestLookMs = 5_000;

/** What this process takes from the file when it starts, and keeps until the next restart. */
const partsOfFront: readonly string[] = ['admin', 'controlPlane', 'logLevel', 'drainDelay', 'drainTimeout'] satisfies (keyof ProxyConfig)[];

/** What this process is registered and enrolled as when it starts. Its proxy must be the same, and the rest of the file was checked together with it: a file that changes it is refused. */
const whoItIs = ['service', 'zone', 'identity'] as const satisfies (keyof ProxyConfig)[];

/** The file as it is now, with the parts that stay as they were when the process started. */
function withPartsOfFront<Config extends ProxyConfig>(file: Config, first: Config): Config {
  const entries = [...Object.entries(file).filter(([part]) => !partsOfFront.includes(part)), ...Object.entries(first).filter(([part]) => partsOfFront.includes(part))];
  return Object.fromEntries(entries) as unknown as Config;
}

/** Has the control plane issue this proxy's certificate, if it is to. Loaded on demand: most of it is of no use to others. */
async function enrolFront(kind: string, { identity, controlPlane, service = kind }: ProxyConfig, { clock, logger, lifecycle }: Pick<ProcessContext, 'clock' | 'logger' | 'lifecycle'>, { registry }: ProxyMetrics, refreshIdentity: () => Promise<void>): Promise<void> {
  if (identity === undefined || !('directory' in identity)) return;
  const { enrol } = await import('../identity/enrol.js');
  // eslint-disable-next-line no-restricted-properties -- this is where chance enters
  await enrol(identity, { service, controlPlane: controlPlane!, clock, random: Math.random, logger, lifecycle, registry, onChanged: () => void refreshIdentity() });
  // The proxy that is created next has it from the start.
  await refreshIdentity();
}

function createFleet<Config extends ProxyConfig, Dynamic extends Shared>(definition: ProxyDefinition<Config, Dynamic>, config: Config, context: ProcessContext<Config>): Fleet<Config, Dynamic> {
  return sizeOf(config) === 1 ? new OneProcess(definition, config, context) : new WorkerFleet(definition, config, sizeOf, context);
}

function sizeOf({ workers }: Pick<ProxyConfig, 'workers'>): number {
  return workers === 'auto' ? availableParallelism() : workers;
}
