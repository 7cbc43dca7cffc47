import { exportJWK, exportSPKI, generateKeyPair, SignJWT, type JWTPayload } from 'jose';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { maxCachedTokens } from '../shared/policy/jwt/jwt.js';
import { TestAuthority, type KeyPairFiles } from '../tests/support/certificates.js';
import type { EdgeFiles } from './peers/edge.js';
import type { PairFiles } from './peers/sidecar-pair.js';

const issuer = 'https://issuer.bench';
const audience = 'bench';
const subjects = 100;
/** More than a gateway remembers: who comes to the end and begins again finds none that it still knows. */
const newTokens = maxCachedTokens + 2_000;

export interface Credentials {
  readonly ca: string;
  readonly edge: EdgeFiles;
  readonly pair: PairFiles;
  /** `Authorization` lines, each of a subject of its own. */
  readonly tokens: readonly string[];
  /** Writes a file of such lines, of the same subjects, more than a gateway remembers. Takes some seconds; gives its path. */
  readonly writeNewTokens: () => Promise<string>;
  remove(): void;
}

/** Certificates, an issuer's keys and tokens, made anew for a run. */
export async function makeCredentials(): Promise<Credentials> {
  const authority = await TestAuthority.create();
  const withBoth = (files: KeyPairFiles): KeyPairFiles & { both: string } => {
    const both = files.cert.replace(/\.crt$/, '.pem');
    writeFileSync(both, Buffer.concat([readFileSync(files.cert), readFileSync(files.key)]));
    return { ...files, both };
  };
  const server = withBoth(await authority.issue('server', { dns: ['localhost'], ip: ['127.0.0.1'] }));
  const client = withBoth(await authority.issue('client', { dns: ['client'] }));
  const { privateKey, publicKey } = await generateKeyPair('RS256', { extractable: true });
  const jwks = join(authority.directory, 'jwks.json');
  writeFileSync(jwks, JSON.stringify({ keys: [{ ...(await exportJWK(publicKey)), kid: 'bench', alg: 'RS256', use: 'sig' }] }));
  const publicKeyFile = join(authority.directory, 'issuer.pem');
  writeFileSync(publicKeyFile, await exportSPKI(publicKey));
  const makeTokens = (count: number, claims: (index: number) => JWTPayload): Promise<string[]> =>
    Promise.all(Array.from({ length: count }, async (_, index) => `Authorization: Bearer ${await new SignJWT(claims(index)).setProtectedHeader({ alg: 'RS256', kid: 'bench' }).setIssuer(issuer).setAudience(audience).setSubject(`user-${index % subjects}`).setIssuedAt().setExpirationTime('1h').sign(privateKey)}`));
  const tokens = await makeTokens(subjects, () => ({}));
  const writeNewTokens = async (): Promise<string> => {
    const file = join(authority.directory, 'tokens.txt');
    writeFileSync(file, (await makeTokens(newTokens, (index) => ({ jti: String(index) }))).join('\n'));
    return file;
  };
  return { ca: authority.ca, edge: { ...server, jwks, publicKey: publicKeyFile, issuer, audience }, pair: { ca: authority.ca, client, server }, tokens, writeNewTokens, remove: () => authority.remove() };
}
