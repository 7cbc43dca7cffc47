import { delay, type Clock } from '../clock/clock.js';
import type { IdentityConfig } from '../config/identity.js';
import type { ControlPlaneConfig } from '../config/sections.js';
import { identityFiles } from '../identity/identity-files.js';
import type { Lifecycle } from '../process/lifecycle.js';
import type { Logger } from '../telemetry/logger.js';
import type { ProxyMetrics } from '../telemetry/proxy-metrics.js';
import { PemStore, type PemFiles } from '../tls/pem-store.js';
import { ControlPlaneLink } from './control-plane-link.js';
import { Registration } from './registration.js';
import { SnapshotClient } from './snapshot-client.js';
import { workloadName } from './workload-name.js';

interface FollowOptions {
  readonly kind: 'gateway' | 'sidecar';
  readonly service?: string | undefined;
  /** Where this proxy runs; registered with its address. */
  readonly zone?: string | undefined;
  /** Who this proxy is: shown to the control plane, and registered with its address. */
  readonly identity?: IdentityConfig | undefined;
  /** Sidecar: keeps the service's instance in the registry. */
  readonly register?: { readonly address: string; readonly isHealthy: () => boolean } | undefined;
  readonly apply: (config: unknown) => Promise<void>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  readonly metrics: ProxyMetrics;
}

/** Time in which callers hear that an instance has left (ms): two rounds of the control plane, and what a proxy takes to apply a snapshot. */
const heardMs = 300;

/** Connects a proxy to its control plane. Never rejects because the control plane is away. */
export async function followControlPlane(config: ControlPlaneConfig, options: FollowOptions): Promise<void> {
  const { node } = config;
  const { kind, service, zone, identity, register, apply, clock, random, logger, lifecycle, metrics } = options;
  const files = identity === undefined ? undefined : identityFiles(identity);
  const pems = new PemStore(clock);
  const link = new ControlPlaneLink({ urls: config.url, tokenFile: config.tokenFile, ca: config.ca, client: files, pems, clock, random, logger });
  const own = pems.open(files === undefined ? [] : [files.cert]);
  const { weight, labels } = config;
  const registration =
    register === undefined || service === undefined
      ? undefined
      : new Registration({ link, service, instance: node, place: { zone, weight, labels }, identity: () => files && nameIn(own, files.cert), ttlMs: config.leaseTtl, clock, logger, ...register });
  const client = new SnapshotClient({
    link, node, kind, service, hasIdentity: identity !== undefined, snapshotFile: config.snapshotFile, apply, clock, random, logger,
    onConnected(isConnected) {
      metrics.controlPlaneConnected(isConnected);
      if (isConnected) registration?.renew();
    },
  });
  lifecycle.onClose(async () => {
    await client.close();
    pems.close();
    link.close();
  });
  await client.start();
  if (registration === undefined) return;
  // Who takes leave already would never take this back.
  lifecycle.refuseIfDraining();
  // Out of the registry first: callers must stop choosing this instance before it stops accepting.
  lifecycle.onLeave(async () => {
    if (await registration.close()) await delay(clock, heardMs);
  });
  void registration.start();
}

/** The name in a certificate; undefined while there is none. */
function nameIn(pems: PemFiles, cert: string): string | undefined {
  try {
    return workloadName(pems.read(cert));
  } catch {
    return undefined;
  }
}
