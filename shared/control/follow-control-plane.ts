import { readFile } from 'node:fs/promises';
import type { Clock } from '../clock/clock.js';
import type { ControlPlaneConfig } from '../config/sections.js';
import type { Lifecycle } from '../process/lifecycle.js';
import type { Logger } from '../telemetry/logger.js';
import type { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { Registration } from './registration.js';
import { SnapshotClient } from './snapshot-client.js';

export interface FollowOptions {
  readonly kind: 'gateway' | 'sidecar';
  readonly service?: string | undefined;
  /** Where this proxy runs; registered with its address. */
  readonly zone?: string | undefined;
  /** Sidecar: keeps the service's instance in the registry. */
  readonly register?: { readonly address: string; readonly isHealthy: () => boolean } | undefined;
  readonly apply: (config: unknown) => Promise<void>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  readonly metrics: ProxyMetrics;
}

/** Connects a proxy to its control plane, if it has one. Never rejects because the control plane is away. */
export async function followControlPlane(config: ControlPlaneConfig | undefined, options: FollowOptions): Promise<void> {
  if (config === undefined) return;
  const { url, node } = config;
  const { kind, service, zone, register, apply, clock, random, logger, lifecycle, metrics } = options;
  const token = config.tokenFile === undefined ? undefined : (await readFile(config.tokenFile, 'utf8')).trim();
  const client = new SnapshotClient({
    url, token, node, kind, service, snapshotFile: config.snapshotFile, apply, clock, random, logger,
    onConnected: (isConnected) => metrics.controlPlaneConnected(isConnected),
  });
  lifecycle.onClose(() => client.close());
  await client.start();
  if (register === undefined || service === undefined) return;
  const { weight, labels } = config;
  const registration = new Registration({ url, token, service, instance: node, place: { zone, weight, labels }, ttlMs: config.leaseTtl, clock, logger, ...register });
  // Out of the registry first: callers must stop choosing this instance before it stops accepting.
  lifecycle.onDrain(() => registration.close());
  void registration.start();
}
