import { z } from 'zod';
import { isObject } from '../shared/config/is-object.js';
import type { Problem } from '../shared/config/load.js';
import { duration } from '../shared/config/units.js';

const embeddedSchema = z.strictObject({
  kind: z.literal('embedded'),
  directory: z.string().min(1).describe('Directory (mode 0700) of this control plane’s own, where everything is kept.'),
});

const pem = (what: string) => z.string().min(1).describe(`Path of a PEM file: ${what}. Read at every connection.`);

const etcdSchema = z
  .strictObject({
    kind: z.literal('etcd'),
    endpoints: z
      .array(z.url({ protocol: /^https?$/, error: 'expected an address such as http://etcd-1:2379' }))
      .min(1)
      .max(16)
      .describe('The members’ client addresses. One is spoken to at a time, the next when it fails.'),
    prefix: z
      .string()
      .regex(/^\/[A-Za-z0-9._/-]{0,127}$/, 'expected a path such as /mesh of letters, digits and ._-/')
      .default('/control-plane')
      .describe('Where its keys are, all of them. Control planes with the same prefix are one.'),
    tls: z
      .strictObject({
        ca: pem('the authority that signed etcd’s certificates'),
        cert: pem('this control plane’s certificate, where etcd asks for one').optional(),
        key: pem('its private key').optional(),
      })
      .refine(({ cert, key }) => (cert === undefined) === (key === undefined), { error: 'expected cert and key, or neither' })
      .optional(),
    username: z.string().min(1).optional().describe('User of etcd, where its authentication is on.'),
    passwordFile: z.string().min(1).optional().describe('File with the password. Read at every connection.'),
    timeout: duration.default(3_000).describe('How long one call to etcd may take.'),
    sessionTtl: duration.default(5_000).describe('How long the leader may be silent before another control plane takes over; whole seconds, at least 2s.'),
    historyLimit: z.never({ error: 'is history.revisions now, for every kind of store' }).optional().describe('Taken away: see history.revisions.'),
    advertise: z.url({ protocol: /^https?$/ }).optional().describe('Address at which this control plane’s API is reached; the others name it when it leads, and what they pass on to it goes there. By default what it listens on, by https where it serves that; needed with ca where it listens on all addresses.'),
  })
  .refine(({ username, passwordFile }) => (username === undefined) === (passwordFile === undefined), { error: 'expected username and passwordFile, or neither' })
  .refine(({ endpoints }) => new Set(endpoints.map((url) => url.slice(0, 6))).size === 1, { path: ['endpoints'], error: 'expected http or https for all of them, not both' })
  .refine(({ endpoints, tls }) => tls === undefined || endpoints.every((url) => url.startsWith('https:')), { path: ['tls'], error: 'is for endpoints with https://' })
  .refine(({ timeout }) => timeout >= 100, { path: ['timeout'], error: 'expected 100ms or more' })
  .refine(({ sessionTtl }) => sessionTtl >= 2_000 && sessionTtl <= 600_000, { path: ['sessionTtl'], error: 'expected 2s to 10m' });

/** Where the truth is kept. */
export const storeSchema = z.discriminatedUnion('kind', [embeddedSchema, etcdSchema]);
export type StoreConfig = z.output<typeof storeSchema>;
export type EtcdStoreConfig = z.output<typeof etcdSchema>;

/** Whether the embedded store is named twice. Takes any document, also a wrong one. With etcd, `dataDir` is for what a control plane keeps for itself. */
export function checkStore(store: unknown, dataDir: unknown): Problem[] {
  return isObject(store) && store['kind'] === 'embedded' && dataDir !== undefined ? [{ path: 'store', message: 'expected store or dataDir, not both' }] : [];
}

const allAddresses = new Set<unknown>(['0.0.0.0', '::']);

/** Whether the others are told an address at which they reach this one. Takes any documents, also wrong ones. */
export function checkAdvertise(store: unknown, listen: unknown, ca: unknown): Problem[] {
  if (!isObject(store) || store['kind'] !== 'etcd' || store['advertise'] !== undefined || ca === undefined || !isObject(listen) || !allAddresses.has(listen['host'])) return [];
  return [{ path: 'store.advertise', message: `is needed with ca where listen.host is ${String(listen['host'])}: expected the address at which the other control planes reach this one` }];
}

/** More would make reading history, which is one key of etcd for each revision, slow. */
const maxEtcdRevisions = 1_000;

/** What `history` may say depends on the kind of store. Takes any documents, also wrong ones. */
export function checkHistory(history: unknown, store: unknown): Problem[] {
  if (!isObject(history) || !isObject(store) || store['kind'] !== 'etcd') return [];
  const { revisions, bytes } = history;
  return [
    ...(typeof revisions === 'number' && revisions > maxEtcdRevisions ? [{ path: 'history.revisions', message: `expected at most ${maxEtcdRevisions} with etcd` }] : []),
    ...(bytes !== undefined ? [{ path: 'history.bytes', message: 'is for the embedded store; with etcd history.revisions alone bounds what is kept, and 64 MiB of those above 16 KiB' }] : []),
  ];
}
