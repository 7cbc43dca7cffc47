import type { Clock } from '../../shared/clock/clock.js';
import { formatSpiffeId, type SpiffeId } from '../../shared/identity/spiffe.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Leadership } from '../sources/leadership.js';
import type { OnceOnly } from '../sources/once-only.js';
import { AuthorityKeeper } from './authority-keeper.js';
import { overlapOf, type CaConfig } from './config.js';
import { issueSvid, type IssuedCertificate } from './issue.js';
import { JoinTokens } from './join-tokens.js';
import type { Proof, Proven } from './proof.js';
import { Refusal } from './refusal.js';
import { verifyRenewal } from './renewal.js';
import { readSigningRequest } from './signing-request.js';
import type { StateDocument } from './state.js';
import { trustBundle, type TrustBundle } from './trust-bundle.js';
import { openWorkloads, type WorkloadIdentity } from './workloads.js';

/** Requests in work at a time; beyond it they are refused, and may come again. */
const maxInFlight = 64;

/** One certificate that was given, for the audit. */
export interface Issuance {
  /** SPIFFE name. */
  readonly name: string;
  readonly serial: string;
  /** Wall clock (ms). */
  readonly notAfter: number;
  readonly proof: Proof['kind'];
  /** Which token or certificate proved it. */
  readonly evidence: string;
  /** Address that asked. */
  readonly client: string;
}

export interface CertificateAuthorityDependencies {
  readonly document: StateDocument;
  readonly once: OnceOnly;
  readonly leadership: Pick<Leadership, 'isLeader' | 'leader'>;
  readonly identities: () => readonly WorkloadIdentity[];
  readonly clock: Clock;
  readonly random: (bytes: number) => Buffer;
  readonly logger: Logger;
  /** Hears of every certificate. */
  readonly onIssued?: ((issuance: Issuance) => void) | undefined;
}

/** Gives workloads certificates for the names that they prove. What they ask for beside their key counts for nothing. */
export class CertificateAuthority {
  #inFlight = 0;
  #bundle: TrustBundle | undefined;

  private constructor(
    readonly config: CaConfig,
    private readonly dependencies: CertificateAuthorityDependencies,
    readonly keeper: AuthorityKeeper,
    private readonly joinTokens: JoinTokens,
    private readonly workloads: Awaited<ReturnType<typeof openWorkloads>>,
  ) {
    keeper.onChange(() => (this.#bundle = undefined));
  }

  /** Rejects if its state is damaged, or a file of the configuration cannot be used. */
  static async open(config: CaConfig, dependencies: CertificateAuthorityDependencies): Promise<CertificateAuthority> {
    const { clock, random, identities } = dependencies;
    const { trustDomain, clockSkew } = config;
    const wallNow = (): number => clock.wallNow();
    const workloads = await openWorkloads(config.workloads, { trustDomain, clock, skewMs: clockSkew, identities });
    const keeper = await AuthorityKeeper.open(config, dependencies);
    return new CertificateAuthority(config, dependencies, keeper, new JoinTokens({ keeper, trustDomain, wallNow, random }), workloads);
  }

  get leadership(): CertificateAuthorityDependencies['leadership'] {
    return this.dependencies.leadership;
  }

  /** The roots that the mesh's certificates are verified against. */
  get bundle(): TrustBundle {
    return (this.#bundle ??= trustBundle(this.keeper.state, this.config.bundleRefresh));
  }

  /** Rejects with a `Refusal`. */
  async issue(csr: string, proof: Proof, client: string): Promise<IssuedCertificate & { readonly name: string; readonly lifetimeMs: number }> {
    if (this.#inFlight >= maxInFlight) throw new Refusal('overloaded');
    this.#inFlight++;
    try {
      return await this.#issue(csr, proof, client);
    } finally {
      this.#inFlight--;
    }
  }

  async #issue(csr: string, proof: Proof, client: string): Promise<IssuedCertificate & { readonly name: string; readonly lifetimeMs: number }> {
    const { clock, once, random, logger, onIssued } = this.dependencies;
    const { trustDomain, certificateLifetime, clockSkew, refused } = this.config;
    const request = await readSigningRequest(csr);
    const proven = await this.#prove(proof, request.der);
    const name = formatSpiffeId(proven.name);
    if (request.name !== undefined && request.name !== name) throw new Refusal('name_not_proven');
    if (refused.includes(name)) throw new Refusal('name_refused');
    const authority = this.keeper.signing;
    if (!this.leadership.isLeader) throw new Refusal('not_leader');
    if (authority === undefined) throw new Refusal('authority_expired');
    // Last of all: a request that is refused for another reason leaves the token good.
    if (proven.once !== undefined && !(await once.use(proven.once.id, proven.once.expiresAt))) throw new Refusal('proof_used');
    const now = clock.wallNow();
    const issued = await issueSvid(authority, trustDomain, name, request.publicKey, { now, lifetimeMs: certificateLifetime, skewMs: clockSkew }, random);
    const { serial, notAfter } = issued;
    logger.info({ name, serial, notAfter: new Date(notAfter).toISOString(), proof: proof.kind, evidence: proven.evidence, client }, 'a certificate was issued');
    onIssued?.({ name, serial, notAfter, proof: proof.kind, evidence: proven.evidence, client });
    return { ...issued, name, lifetimeMs: notAfter - now };
  }

  #prove(proof: Proof, requestDer: Uint8Array): Promise<Proven> {
    const { trustDomain, clockSkew, renewalGrace } = this.config;
    switch (proof.kind) {
      case 'joinToken': return this.joinTokens.verify(proof.token);
      case 'workload': return this.workloads.verify(proof.token);
      case 'renewal': return verifyRenewal(proof.jws, requestDer, { keeper: this.keeper, trustDomain, wallNow: () => this.dependencies.clock.wallNow(), skewMs: clockSkew, graceMs: renewalGrace });
    }
  }

  /** A token that is good for one certificate of this name. */
  async makeJoinToken(name: Omit<SpiffeId, 'trustDomain'>, ttlMs: number): Promise<{ token: string; expiresAt: number }> {
    const { token, id, expiresAt } = await this.joinTokens.make(name, ttlMs);
    this.dependencies.logger.info({ ...name, id, expiresAt: new Date(expiresAt).toISOString() }, 'a join token was made');
    return { token, expiresAt };
  }

  /** Begins a rotation to a new root; see rotation.ts. */
  async rotate(overlapMs = overlapOf(this.config)): Promise<void> {
    await this.keeper.rotate(overlapMs);
  }

  close(): Promise<void> {
    return this.keeper.close();
  }
}
