import { createHash } from 'node:crypto';
import type { EnrolledIdentityConfig } from '../config/identity.js';
import { readFileBounded, whyUnreadable } from '../files/read-file.js';
import type { EnrolmentProof } from './enrolment-client.js';
import type { HeldIdentity } from './held-identity.js';
import { signRenewalProof } from './renewal-proof.js';

const maxTokenBytes = 32_768;

/** What a proxy can prove itself with at the moment, best first. */
export class Proofs {
  /** Digest of the join token that was used: what is left in the file is of no more use. */
  #spent: string | undefined;

  constructor(private readonly config: Pick<EnrolledIdentityConfig, 'joinTokenFile' | 'workloadTokenFile'>) {}

  /**
   * The certificate of before, then the platform's token or the join token, each read anew. The function it gives makes the proof for one
   * signing request. Rejects with the reason if there is none at all.
   */
  async available(held: HeldIdentity | undefined, wallNow: () => number): Promise<((requestDer: Uint8Array) => Promise<EnrolmentProof>)[]> {
    const { joinTokenFile, workloadTokenFile } = this.config;
    const proofs: ((requestDer: Uint8Array) => Promise<EnrolmentProof>)[] = [];
    if (held !== undefined) proofs.push(async (requestDer) => ({ kind: 'renewal', jws: await signRenewalProof({ key: held.key, certificate: held.certificate.raw, trustDomain: held.name.trustDomain, requestDer, wallNow: wallNow() }) }));
    try {
      if (workloadTokenFile !== undefined) {
        const token = await readToken('workloadTokenFile', workloadTokenFile);
        proofs.push(async () => ({ kind: 'workload', token }));
      } else if (joinTokenFile !== undefined) {
        const token = await readToken('joinTokenFile', joinTokenFile);
        if (digest(token) !== this.#spent) proofs.push(async () => ({ kind: 'joinToken', token }));
      }
    } catch (error) {
      if (held === undefined) throw error;
    }
    if (proofs.length === 0) throw new Error(joinTokenFile === undefined ? 'there is neither a joinTokenFile nor a workloadTokenFile to prove anything with' : 'the join token was used, and there is no new one');
    return proofs;
  }

  /** Tells that a proof has done its work. */
  used(proof: EnrolmentProof): void {
    if (proof.kind === 'joinToken') this.#spent = digest(proof.token);
  }
}

async function readToken(what: string, path: string): Promise<string> {
  let token: string;
  try {
    token = (await readFileBounded(path, maxTokenBytes)).toString().trim();
  } catch (error) {
    throw new Error(`identity.${what}: the file cannot be read (${whyUnreadable(error)})`, { cause: error });
  }
  if (token === '') throw new Error(`identity.${what}: the file is empty`);
  return token;
}

function digest(token: string): string {
  return createHash('sha256').update(token).digest('base64url');
}
