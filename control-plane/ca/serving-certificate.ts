import * as x509 from '@peculiar/x509';
import { webcrypto } from 'node:crypto';
import { delay, type Clock, type Timer } from '../../shared/clock/clock.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { CertificateAuthority } from './certificate-authority.js';
import { issueServing } from './issue.js';

/** How long it waits before it tries again (ms). */
const retryMs = 5_000;
/** At the start: how long, and how often in that time (ms), it waits for a leader to make the first authority. */
const firstWaitMs = 30_000;
const firstRetryMs = 250;

/**
 * The certificate that the control plane's own https shows, issued by the mesh's authority. Its key is made anew each time, and is in memory
 * alone. It is exchanged when half of its life is over, and when another authority begins to sign.
 */
export class ServingCertificate {
  #pair: { readonly key: string; readonly cert: string } | undefined;
  #issuer: string | undefined;
  /** When it was issued, by both clocks (ms), and how long it lives from then on. */
  #since = { now: 0, wall: 0 };
  #lifeMs = 0;
  #timer: Timer | undefined;
  #closed = false;
  readonly #listeners = new Set<(pair: { key: string; cert: string }) => void>();

  private constructor(
    private readonly authority: CertificateAuthority,
    private readonly names: readonly string[],
    private readonly dependencies: { readonly clock: Clock; readonly random: (bytes: number) => Buffer; readonly logger: Logger },
  ) {}

  /** Waits for an authority that signs: where several control planes start together, until one leads. Rejects when that takes too long. */
  static async open(authority: CertificateAuthority, names: readonly string[], dependencies: { readonly clock: Clock; readonly random: (bytes: number) => Buffer; readonly logger: Logger }): Promise<ServingCertificate> {
    const serving = new ServingCertificate(authority, names, dependencies);
    const until = dependencies.clock.now() + firstWaitMs;
    while (authority.keeper.signing === undefined && dependencies.clock.now() < until) {
      await delay(dependencies.clock, firstRetryMs);
      await authority.keeper.step();
    }
    await serving.#renew();
    serving.#schedule();
    return serving;
  }

  /** PEM, for `https.createServer`. */
  get pair(): { readonly key: string; readonly cert: string } {
    return this.#pair!;
  }

  /** Runs with each new pair: for `server.setSecureContext`, which drops no connection. */
  onChange(listener: (pair: { key: string; cert: string }) => void): void {
    this.#listeners.add(listener);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #schedule(): void {
    this.#timer = this.dependencies.clock.after(retryMs, () => {
      const isDue = this.#elapsedMs() >= this.#lifeMs / 2 || this.authority.keeper.signing?.id !== this.#issuer;
      void (isDue ? this.#renew() : Promise.resolve())
        .catch((error: unknown) => this.dependencies.logger.error({ err: error }, 'the control plane’s own certificate could not be renewed; trying on'))
        .finally(() => this.#closed || this.#schedule());
    });
  }

  async #renew(): Promise<void> {
    const { clock, random } = this.dependencies;
    const { keeper, config } = this.authority;
    const { signing } = keeper;
    if (signing === undefined) throw new Error('no authority signs, or the one that did has expired');
    const keys = await webcrypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, ['sign', 'verify']);
    const publicKey = await x509.PublicKey.create(keys.publicKey);
    const since = { now: clock.now(), wall: clock.wallNow() };
    const { chain, notAfter } = await issueServing(signing, config.trustDomain, this.names, publicKey, { now: since.wall, lifetimeMs: config.certificateLifetime, skewMs: config.clockSkew }, random);
    const pair = { key: x509.PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY'), cert: chain };
    this.#pair = pair;
    this.#issuer = signing.id;
    this.#since = since;
    this.#lifeMs = notAfter - since.wall;
    for (const listener of this.#listeners) listener(pair);
  }

  /** Since it was issued. The monotonic clock stands still while a machine sleeps, and the wall clock may be set: the later counts. */
  #elapsedMs(): number {
    const { clock } = this.dependencies;
    return Math.max(clock.now() - this.#since.now, clock.wallNow() - this.#since.wall);
  }
}
