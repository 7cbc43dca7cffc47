import type { Registry } from 'prom-client';
import type { Clock } from '../clock/clock.js';
import type { EnrolledIdentityConfig } from '../config/identity.js';
import type { Lifecycle } from '../process/lifecycle.js';
import type { Logger } from '../telemetry/logger.js';
import { EnrolmentClient } from './enrolment-client.js';
import { Enrolment } from './enrolment.js';
import { IdentityMetrics } from './identity-metrics.js';

interface EnrolOptions {
  readonly service: string;
  /** Where the authority is. */
  readonly controlPlane: { readonly url: string | readonly string[]; readonly ca?: string | undefined };
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly lifecycle: Lifecycle;
  readonly registry: Registry;
  /** Runs when certificate or bundle on disk have changed. */
  readonly onChanged: () => void;
}

/**
 * Gets this process an identity and keeps it up to date until it ends. Resolves when the files are there. Until then the process is not ready;
 * a signal ends the wait at once.
 */
export async function enrol(config: EnrolledIdentityConfig, { service, controlPlane, lifecycle, registry, ...rest }: EnrolOptions): Promise<void> {
  const abort = new AbortController();
  const client: EnrolmentClient = new EnrolmentClient({ urls: [controlPlane.url].flat(), ca: controlPlane.ca, bundle: () => enrolment.bundle, signal: abort.signal, clock: rest.clock });
  const enrolment: Enrolment = new Enrolment({ config, service, client, metrics: new IdentityMetrics(registry), ...rest });
  let hasStarted = false;
  lifecycle.require('there is no certificate yet: waiting for the control plane to issue one', () => hasStarted);
  lifecycle.onClose(async () => {
    abort.abort(new Error('the process is stopping'));
    await enrolment.close();
  });
  try {
    await enrolment.start();
  } catch (error) {
    // The signal that ended the wait ends the process too: there is nothing to go on with.
    if (abort.signal.aborted) await new Promise<never>(() => {});
    throw error;
  }
  hasStarted = true;
}
