import { delay, type Clock } from '../clock/clock.js';
import type { EnrolledIdentityConfig } from '../config/identity.js';
import { Cancellation } from '../http/cancellation.js';
import type { Logger } from '../telemetry/logger.js';
import { EnrolmentRefused, type EnrolmentClient, type EnrolmentProof } from './enrolment-client.js';
import { isIssuedUnder, readIdentity, type HeldIdentity } from './held-identity.js';
import { IdentityDirectory } from './identity-directory.js';
import type { IdentityMetrics } from './identity-metrics.js';
import { Proofs } from './proofs.js';
import { lifeOfFound, lifeOfNew, untilRenewal, untilRetry, type Life } from './renewal-schedule.js';
import { createSigningRequest } from './signing-request.js';
import { formatSpiffeId } from './spiffe.js';

/*
 * How a proxy comes to its certificate, and keeps it.
 *
 *     none  ->  held  ->  held, renewing  ->  held ...
 *
 * none:      nothing on disk, or nothing that can be used. The proxy does not start; it asks until it gets one.
 * held:      on disk and in force. At two fifths of its life, a little later by chance, it is renewed by itself: the key of before proves
 *            who asks, and the new certificate has a new key.
 * renewing:  on failure again and again, with full jitter, ever louder. Traffic goes on as long as the certificate lives. After its end it
 *            goes on asking, also with what else there is to prove by.
 *
 * The trust bundle is asked for at the pace that the authority hints at. Whatever comes is used only if our own certificate comes from it:
 * a control plane that was set up anew, with another root, tears nobody out of the mesh.
 */

interface EnrolmentOptions {
  readonly config: EnrolledIdentityConfig;
  /** The service that this proxy stands for. */
  readonly service: string;
  readonly client: EnrolmentClient;
  readonly clock: Clock;
  readonly random: () => number;
  readonly logger: Logger;
  readonly metrics: IdentityMetrics;
  /** Runs when certificate or bundle on disk have changed. */
  readonly onChanged: () => void;
}

/** The longest pause between two looks at the clock (ms): a machine that slept must notice. */
const longestPauseMs = 60_000;
/** The longest pause between two attempts to get the first certificate (ms): somebody waits for it. */
const longestFirstPauseMs = 5_000;
/** The longest pause between two looks at the bundle (ms). */
const longestBundlePauseMs = 30_000;
/** And as long as the authority’s hint is not known. */
const firstBundlePauseMs = 5_000;
/** A share of the life; with less left, failures are errors, and a root that is not the mesh's is taken. */
const lastPart = 0.1;

export class Enrolment {
  readonly #directory: IdentityDirectory;
  readonly #proofs: Proofs;
  readonly #stop = new Cancellation();
  #held: HeldIdentity | undefined;
  #bundle: string | undefined;
  #etag: string | undefined;
  #life: Life = { spanMs: 0, leftMs: 0 };
  #since = { now: 0, wall: 0 };
  #failures = 0;
  #reason = '';
  #hasWarnedOfBundle = '';
  #writing: Promise<void> = Promise.resolve();
  #running: Promise<unknown> | undefined;

  constructor(private readonly options: EnrolmentOptions) {
    this.#directory = new IdentityDirectory(options.config);
    this.#proofs = new Proofs(options.config);
  }

  /** Whether there is a certificate that has not expired. */
  get isHeld(): boolean {
    return this.#held !== undefined && this.#leftMs() > 0;
  }

  /** The bundle in force, PEM. */
  get bundle(): string | undefined {
    return this.#bundle;
  }

  /** Resolves when there is a certificate to start with: from disk, or else from the control plane, however long that takes. */
  async start(): Promise<void> {
    await this.#directory.prepare();
    await this.#startFromDisk();
    while (!this.isHeld) {
      if (await this.#attempt()) break;
      await this.#pause(Math.min(longestFirstPauseMs, untilRetry(this.#failures, Infinity, this.options.random)));
    }
    this.#running = Promise.allSettled([this.#keepCertificate(), this.#keepBundle()]);
  }

  async close(): Promise<void> {
    this.#stop.cancel(new Error('the process is stopping'));
    this.options.client.close();
    await this.#running;
  }

  async #startFromDisk(): Promise<void> {
    const { logger, clock, config, service } = this.options;
    const found = await this.#directory.read();
    if (found === undefined) return;
    if ('problem' in found) {
      logger.warn({ directory: config.directory, reason: found.problem }, 'the identity on disk cannot be used');
      return;
    }
    const { identity, bundle } = found;
    if (identity.name.service !== service || identity.name.namespace !== config.namespace) {
      logger.warn({ directory: config.directory, name: identity.id }, 'the identity on disk is that of another workload, and is not used');
      return;
    }
    this.#bundle = bundle;
    this.#hold(identity, lifeOfFound(identity, clock.wallNow()));
    if (this.isHeld) logger.info({ name: identity.id, expiresAt: iso(identity.notAfter) }, 'the identity on disk is in force');
    else logger.warn({ name: identity.id, expiredAt: iso(identity.notAfter) }, 'the identity on disk has expired');
  }

  async #keepCertificate(): Promise<void> {
    const { clock, random } = this.options;
    let renewAfterMs = untilRenewal(this.#life, random);
    for (;;) {
      while (this.#elapsedMs() < renewAfterMs) await this.#pause(Math.min(longestPauseMs, renewAfterMs - this.#elapsedMs()));
      if (await this.#attempt()) renewAfterMs = untilRenewal(this.#life, random);
      else await delay(clock, untilRetry(this.#failures, this.#leftMs(), random), this.#stop);
    }
  }

  /** Asks for a certificate by each proof that there is; whether one worked. Never rejects, but when it is stopped. */
  async #attempt(): Promise<boolean> {
    const { clock, metrics } = this.options;
    try {
      const proofs = await this.#proofs.available(this.#held, () => clock.wallNow());
      const name = await this.#fullName();
      const refusals: EnrolmentRefused[] = [];
      for (const prove of proofs) {
        try {
          await this.#ask(name, prove);
          return true;
        } catch (error) {
          if (!(error instanceof EnrolmentRefused)) throw error;
          refusals.push(error);
        }
      }
      throw new EnrolmentRefused(refusals[0]!.code, refusals.map(({ detail }) => detail).join(' Then: '));
    } catch (error) {
      this.#stop.throwIfCancelled();
      metrics.renewal(error instanceof EnrolmentRefused ? 'refused' : 'failed');
      this.#report((error as Error).message);
      this.#failures++;
    }
    return false;
  }

  async #ask(name: string | undefined, prove: (requestDer: Uint8Array) => Promise<EnrolmentProof>): Promise<void> {
    const { client, metrics, logger } = this.options;
    const before = this.#bundle;
    const request = await createSigningRequest(name);
    const proof = await prove(request.der);
    const { certificate, lifetimeMs, trustBundle } = await client.certificate(request.csr, proof);
    this.#proofs.used(proof);
    const pem = `${request.key.export({ type: 'pkcs8', format: 'pem' }).toString()}${certificate}`;
    const identity = readIdentity(pem);
    this.#check(identity, trustBundle);
    // The roots first: whoever starts in between finds a certificate of before that they cover too.
    await this.#alone(async () => {
      await this.#takeBundle(trustBundle, before, identity);
      await this.#directory.writeIdentity(pem);
      this.#hold(identity, lifeOfNew(lifetimeMs));
    });
    this.#failures = 0;
    this.#reason = '';
    metrics.renewal('renewed');
    logger.info({ identity: identity.id, serial: identity.certificate.serialNumber.toLowerCase(), expiresAt: iso(identity.notAfter), proof: proof.kind }, 'a certificate is in force');
    this.options.onChanged();
  }

  /** The bundle that came with a certificate that was asked for when `before` was in force. */
  async #takeBundle(trustBundle: string, before: string | undefined, identity: HeldIdentity): Promise<void> {
    if (trustBundle === this.#bundle) return;
    // Nothing says which is the newer: the next look brings the one that is.
    this.#etag = undefined;
    const isOvertaken = this.#bundle !== before && isIssuedUnder(identity, this.#bundle!);
    if (isOvertaken) return;
    await this.#directory.writeBundle(trustBundle);
    this.#bundle = trustBundle;
  }

  /** Throws if an answer of the authority would do harm. */
  #check(identity: HeldIdentity, trustBundle: string): void {
    const { service, config } = this.options;
    if (identity.name.service !== service || identity.name.namespace !== config.namespace) throw new Error(`the proof is that of another workload: the certificate is for ${identity.id}, and this proxy is ${service} in ${config.namespace}`);
    if (!isIssuedUnder(identity, trustBundle)) throw new Error('the certificate does not come from a root of the trust bundle');
    if (this.#held !== undefined && this.#leftMs() > this.#life.spanMs * lastPart && !isIssuedUnder(this.#held, trustBundle)) throw new Error('the control plane has another root than the mesh; was it set up anew? The certificate stays as long as it lives');
  }

  /** The name to ask for, once the trust domain is known. */
  async #fullName(): Promise<string | undefined> {
    if (this.#held !== undefined) return this.#held.id;
    const { client, config, service } = this.options;
    const bundle = await client.bundle(undefined);
    return bundle?.trustDomain === undefined ? undefined : formatSpiffeId({ trustDomain: bundle.trustDomain, namespace: config.namespace, service });
  }

  async #keepBundle(): Promise<void> {
    const { client, random, logger } = this.options;
    let refreshMs = firstBundlePauseMs;
    let isFailing = false;
    // The first look comes soon: what is on disk may be old.
    await this.#pause(random() * 1_000);
    for (;;) {
      try {
        const fetched = await client.bundle(this.#etag);
        if (isFailing) logger.info('the trust bundle can be had again');
        isFailing = false;
        if (fetched !== undefined) {
          refreshMs = Math.min(longestBundlePauseMs, fetched.refreshMs);
          await this.#alone(() => this.#useBundle(fetched.pem, fetched.etag));
        }
      } catch (error) {
        this.#stop.throwIfCancelled();
        if (!isFailing) logger.warn({ reason: (error as Error).message }, 'the trust bundle cannot be had; the one that is there stays');
        isFailing = true;
      }
      await this.#pause(refreshMs * (0.8 + 0.2 * random()));
    }
  }

  async #useBundle(pem: string, etag: string | undefined): Promise<void> {
    const { metrics, logger, onChanged } = this.options;
    if (this.#held !== undefined && !isIssuedUnder(this.#held, pem)) {
      metrics.bundle('refused');
      if (this.#hasWarnedOfBundle !== pem) logger.error('a trust bundle without the root of our own certificate is refused; was the control plane set up anew?');
      this.#hasWarnedOfBundle = pem;
      return;
    }
    if (pem !== this.#bundle) await this.#directory.writeBundle(pem);
    // Only now: what could not be written is to be sent again.
    this.#etag = etag;
    if (pem === this.#bundle) return;
    this.#bundle = pem;
    metrics.bundle('used');
    logger.info({ roots: pem.split('BEGIN CERTIFICATE').length - 1 }, 'a new trust bundle is in force');
    onChanged();
  }

  /** One after the other: what is in force is what is on disk. */
  #alone(step: () => Promise<void>): Promise<void> {
    const done = this.#writing.then(step);
    this.#writing = done.catch(() => {});
    return done;
  }

  #hold(identity: HeldIdentity, life: Life): void {
    const { clock } = this.options;
    this.#held = identity;
    this.#life = life;
    this.#since = { now: clock.now(), wall: clock.wallNow() };
  }

  /** Each reason once, and again when it gets serious. */
  #report(reason: string): void {
    const { logger } = this.options;
    if (this.#held === undefined) {
      if (reason !== this.#reason) logger.warn({ reason }, 'there is no certificate yet; trying on');
    } else {
      const leftMs = this.#leftMs();
      const fields = { reason, name: this.#held.id, expiresAt: iso(this.#held.notAfter), leftSeconds: Math.round(leftMs / 1_000) };
      if (leftMs <= 0) logger.error(fields, 'THE CERTIFICATE HAS EXPIRED and could not be renewed: nobody in the mesh believes this proxy; trying on');
      else if (leftMs < this.#life.spanMs * lastPart * 2) logger.error(fields, 'the certificate expires soon and could not be renewed; trying on');
      else if (reason !== this.#reason) logger.warn(fields, 'the certificate could not be renewed; trying on');
    }
    this.#reason = reason;
  }

  #leftMs(): number {
    return this.#life.leftMs - this.#elapsedMs();
  }

  /** Since the certificate came. The monotonic clock stands still while a machine sleeps, and the wall clock may be set: the later counts. */
  #elapsedMs(): number {
    const { clock } = this.options;
    return Math.max(clock.now() - this.#since.now, clock.wallNow() - this.#since.wall);
  }

  #pause(ms: number): Promise<void> {
    return delay(this.options.clock, ms, this.#stop);
  }
}

function iso(time: number): string {
  return new Date(time).toISOString();
}
