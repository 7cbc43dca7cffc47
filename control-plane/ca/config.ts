import { isIP } from 'node:net';
import { z } from 'zod';
import { identityNameSchema, trustDomainSchema } from '../../shared/config/endpoints.js';
import { isObject } from '../../shared/config/is-object.js';
import type { Problem } from '../../shared/config/load.js';
import { duration } from '../../shared/config/units.js';
import { readFileBoundedSync, whyUnreadable } from '../../shared/files/read-file.js';
import { workloadIssuerSchema } from './workloads-config.js';

const pem = (what: string) => z.string().min(1).describe(`Path of a PEM file: ${what}. Read again when it changes.`);
const minute = 60_000;
const hour = 60 * minute;

/** The mesh's certificate authority. */
export const caSchema = z
  .strictObject({
    trustDomain: trustDomainSchema.describe('The mesh’s name: its workloads are spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE. It cannot be changed later.'),
    issuer: z
      .strictObject({ cert: pem('the intermediate that signs, then those between it and the root'), key: pem('its private key') })
      .optional()
      .describe('An intermediate under your own root. Without it the authority makes a root of its own.'),
    root: pem('the root above the issuer').optional(),
    certificateLifetime: duration
      .default(24 * hour)
      .describe('Life of a certificate. Proxies renew before half of it is left, so half of it is how long the control plane may be away at any moment.'),
    rootLifetimeDays: z.int().min(1).max(36_500).default(3_650).describe('Life of a root of our own; a new one takes over in its last fifth.'),
    bundleRefresh: duration.default(30_000).describe('How often proxies ask for the trust bundle (spiffe_refresh_hint, in whole seconds).'),
    overlap: duration
      .optional()
      .describe('How long a new root is in the bundle before it signs; at least twice bundleRefresh. Default: certificateLifetime, since a proxy that is cut off for longer has lost its own certificate anyway.'),
    clockSkew: duration.default(10 * minute).describe('How far clocks may be apart: certificates begin so long before they are made, and proofs are taken so long before and after their time.'),
    renewalGrace: duration.default(0).describe('How long after its end a certificate still proves a renewal. 0: not at all, a new join token or a workload token is needed.'),
    joinTokenMaxTtl: duration.default(hour).describe('The longest life of a join token.'),
    refused: z.array(identityNameSchema).default([]).describe('Names that get no certificate any more, whatever they prove: for a workload whose key is in wrong hands.'),
    workloads: z.array(workloadIssuerSchema).default([]).describe('Issuers whose JWTs say which workload somebody is.'),
    requestsPerMinute: z.int().positive().default(6_000).describe('Requests for certificates from one address; beyond it 429.'),
    serve: z
      .strictObject({ names: z.array(z.string().min(1).max(253).refine((name) => isIP(name) !== 0 || /^(\*\.)?[A-Za-z0-9.-]+$/.test(name), 'expected a DNS name or an address')).min(1) })
      .optional()
      .describe('The control plane serves https with a certificate of its own authority, for these DNS names and addresses.'),
  })
  .refine(({ issuer, root }) => (issuer === undefined) === (root === undefined), { path: ['root'], error: 'issuer and root are given together, or neither' })
  .refine(({ overlap, bundleRefresh }) => overlap === undefined || overlap >= 2 * bundleRefresh, { path: ['overlap'], error: 'must be at least twice bundleRefresh, so that every proxy has seen a new root before it signs' })
  .refine(({ rootLifetimeDays, overlap, certificateLifetime }) => rootLifetimeDays * 24 * hour >= 4 * ((overlap ?? certificateLifetime) + certificateLifetime), {
    path: ['rootLifetimeDays'],
    error: 'must be at least four times overlap and certificateLifetime together, so that a root can follow the one before it in time',
  })
  .refine(({ certificateLifetime }) => certificateLifetime >= 1_000, { path: ['certificateLifetime'], error: 'must be at least 1s' })
  .refine(({ bundleRefresh }) => bundleRefresh >= 1_000, { path: ['bundleRefresh'], error: 'must be at least 1s' });
export type CaConfig = z.output<typeof caSchema>;

/** How long a new root is known before it signs (ms). */
export function overlapOf({ overlap, certificateLifetime, bundleRefresh }: CaConfig): number {
  return overlap ?? Math.max(certificateLifetime, 2 * bundleRefresh);
}

/** What no schema of single values can see. Takes any document, also a wrong one. */
export function checkCa(ca: unknown, dataDir: unknown): Problem[] {
  if (!isObject(ca)) return [];
  const { issuer, root } = ca;
  return [
    ...(dataDir === undefined ? [{ path: 'dataDir', message: 'is needed for ca: in memory its root would be lost, and with it which join tokens were used' }] : []),
    ...(isObject(issuer) ? [...unreadable(issuer['cert'], 'ca.issuer.cert'), ...unreadable(issuer['key'], 'ca.issuer.key'), ...unreadable(root, 'ca.root')] : []),
  ];
}

function unreadable(file: unknown, path: string): Problem[] {
  if (typeof file !== 'string') return [];
  try {
    readFileBoundedSync(file);
    return [];
  } catch (error) {
    return [{ path, message: `the file cannot be read (${whyUnreadable(error)})` }];
  }
}
