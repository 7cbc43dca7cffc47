import { generateKeyPair, SignJWT } from 'jose';
import type { LabSession } from '../runner/session.js';

export const forgeries = ['expired', 'wrong-audience', 'wrong-key', 'alg-none', 'missing-scope'] as const;
type Forgery = (typeof forgeries)[number];

/** One token of each kind that must not be let in, as an attacker would make it. */
export async function forge(session: LabSession): Promise<Record<Forgery, string>> {
  const scope = 'orders:read';
  const { privateKey } = await generateKeyPair('RS256');
  const now = Math.floor(Date.now() / 1_000);
  const claims = { iss: session.issuer, sub: 'mallory', aud: 'shop', scope, iat: now, exp: now + 600 };
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');
  const genuine = await session.token({ sub: 'mallory', scope });
  const { kid } = JSON.parse(Buffer.from(genuine.split('.', 1)[0]!, 'base64url').toString()) as { kid: string };
  return {
    expired: await session.token({ sub: 'mallory', scope, expiresInSeconds: -60 }),
    'wrong-audience': await session.token({ sub: 'mallory', scope, audience: 'another-shop' }),
    // The right key id, so that it is the signature that must give it away.
    'wrong-key': await new SignJWT(claims).setProtectedHeader({ alg: 'RS256', kid }).sign(privateKey),
    'alg-none': `${encode({ alg: 'none', typ: 'JWT' })}.${encode(claims)}.`,
    'missing-scope': await session.token({ sub: 'mallory', scope: 'newsletter:read' }),
  };
}
