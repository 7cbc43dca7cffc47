import { exportJWK, exportSPKI, generateKeyPair, SignJWT } from 'jose';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TestAuthority, type KeyPairFiles } from '../tests/support/certificates.js';
import type { EdgeFiles } from './peers/edge.js';
import type { PairFiles } from './peers/sidecar-pair.js';

const issuer = 'https://issuer.bench';
const audience = 'bench';
const subjects = 100;

export interface Credentials {
  readonly ca: string;
  readonly edge: EdgeFiles;
  readonly pair: PairFiles;
  /** `Authorization` lines, each of a subject of its own. */
  readonly tokens: readonly string[];
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
  const tokens = await Promise.all(
    Array.from({ length: subjects }, async (_, index) => `Authorization: Bearer ${await new SignJWT({}).setProtectedHeader({ alg: 'RS256', kid: 'bench' }).setIssuer(issuer).setAudience(audience).setSubject(`user-${index}`).setIssuedAt().setExpirationTime('1h').sign(privateKey)}`),
  );
  return { ca: authority.ca, edge: { ...server, jwks, publicKey: publicKeyFile, issuer, audience }, pair: { ca: authority.ca, client, server }, tokens, remove: () => authority.remove() };
}
