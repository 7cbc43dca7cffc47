import { decodeProtectedHeader, jwtVerify, SignJWT } from 'jose';
import type { SpiffeId } from '../../shared/identity/spiffe.js';
import type { Authority } from './authority.js';
import type { AuthorityKeeper } from './authority-keeper.js';
import type { Proven } from './proof.js';
import { Refusal } from './refusal.js';

const type = 'join+jwt';

export interface JoinTokensOptions {
  readonly keeper: AuthorityKeeper;
  readonly trustDomain: string;
  readonly wallNow: () => number;
  readonly random: (bytes: number) => Buffer;
}

/**
 * Tokens that are each good for one certificate of one name.
 *
 * A token is a JWT by a key that is derived from the authority's, so that every control plane with the authority can check it and none
 * has to keep it: all that is ever kept is the digest of its id, from the moment it is used until it would have expired.
 */
export class JoinTokens {
  constructor(private readonly options: JoinTokensOptions) {}

  async make({ namespace, service }: Omit<SpiffeId, 'trustDomain'>, ttlMs: number): Promise<{ token: string; id: string; expiresAt: number }> {
    const { keeper, trustDomain, wallNow, random } = this.options;
    const { signing } = keeper;
    if (signing === undefined) throw new Refusal('authority_expired');
    const id = random(16).toString('base64url');
    const issuedAt = Math.floor(wallNow() / 1_000);
    const expiresAt = issuedAt + Math.max(1, Math.ceil(ttlMs / 1_000));
    const token = await new SignJWT({ namespace, service })
      .setProtectedHeader({ alg: 'HS256', typ: type, kid: signing.id })
      .setIssuer(trustDomain)
      .setAudience(trustDomain)
      .setJti(id)
      .setIssuedAt(issuedAt)
      .setExpirationTime(expiresAt)
      .sign(keyOf(signing));
    return { token, id, expiresAt: expiresAt * 1_000 };
  }

  /** Rejects with a `Refusal`. Whether it was used before is for whoever uses it up. */
  async verify(token: string): Promise<Proven> {
    const { keeper, trustDomain, wallNow } = this.options;
    try {
      const authority = keeper.get(decodeProtectedHeader(token).kid ?? '');
      if (authority === undefined) throw new Refusal('proof_invalid', 'The join token is not of this mesh, or older than its authority.');
      const { payload } = await jwtVerify<{ namespace: string; service: string }>(token, keyOf(authority), {
        algorithms: ['HS256'], typ: type, issuer: trustDomain, audience: trustDomain, requiredClaims: ['exp', 'jti', 'namespace', 'service'], currentDate: new Date(wallNow()),
      });
      const { namespace, service, jti, exp } = payload;
      return { name: { trustDomain, namespace, service }, evidence: `join token ${jti!}`, once: { id: `join-token/${jti!}`, expiresAt: exp! * 1_000 } };
    } catch (error) {
      if (error instanceof Refusal) throw error;
      if ((error as { code?: unknown }).code === 'ERR_JWT_EXPIRED') throw new Refusal('proof_expired', 'The join token has expired.');
      throw new Refusal('proof_invalid', 'The join token is not of this mesh.');
    }
  }
}

function keyOf(authority: Authority): Uint8Array {
  return authority.deriveKey('join tokens');
}
