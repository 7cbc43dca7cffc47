import { z } from 'zod';
import { caSchema, checkCa } from './ca/config.js';
import { isObject } from '../shared/config/is-object.js';
import type { Problem } from '../shared/config/load.js';
import { listenSchema } from '../shared/config/sections.js';
import { duration, size } from '../shared/config/units.js';
import { checkServerTls } from '../shared/tls/check.js';
import { serverTlsSchema } from '../shared/tls/config.js';
import { accessSchema, checkAccess } from './api/access-config.js';
import { auditSchema } from './api/audit-log.js';
import { writtenResource } from './model/written.js';
import { checkAdvertise, checkHistory, checkStore, storeSchema } from './store-config.js';

export const controlPlaneProcessSchema = z.strictObject({
  listen: listenSchema.extend({
    tls: serverTlsSchema.optional(),
    allowPlaintext: z.boolean().default(false).describe('Lets it listen beyond loopback without tls: for a network that nobody else is in.'),
  }),
  dataDir: z.string().min(1).optional().describe('Directory where resources are kept; without it they live in memory.'),
  store: storeSchema.optional().describe('Where everything is kept that several control planes may share; `dataDir` is the short way to an embedded one.'),
  history: z
    .strictObject({
      revisions: z.int().min(1).max(100_000).optional().describe('Changes that are remembered, and can be gone back to. Default: 1000; with etcd 500, and at most 1000.'),
      bytes: size.optional().describe('What they may take in the embedded store; the newest stays in any case. Default: 4 MiB. etcd has a bound of its own.'),
    })
    .prefault({}),
  access: accessSchema.optional().describe('Who may do what; without it everybody may do everything, on loopback only.'),
  audit: auditSchema.prefault({}).describe('Where changes and refused attempts are taken down.'),
  ca: caSchema.optional().describe('The certificate authority of the mesh; without it this control plane gives no certificates.'),
  resources: z.array(writtenResource).default([]).describe('Resources that an empty store starts with.'),
  leaseGrace: duration.default(10_000).describe('After a start, how long proxies keep endpoints that have not registered yet, and instances of before their place without renewing. At least a third of the longest lease; 0: not at all.'),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
  drainTimeout: duration.default(5_000),
  drainDelay: duration.default(0),
});

/** Whether a store of several control planes, or a directory, is named where the authority’s state can be kept. */
const keepsState = (store: unknown): boolean => isObject(store) && (store['kind'] === 'etcd' || store['directory'] !== undefined);

/** What no schema of single values can see. Takes any document, also a wrong one. */
export function crossCheck(document: unknown): Problem[] {
  const { listen, access, ca, dataDir, store, history } = isObject(document) ? document : {};
  return [...checkAccess(access, listen, ca), ...checkServerTls(isObject(listen) ? listen['tls'] : undefined, 'listen.tls'), ...checkCa(ca, keepsState(store) ? store : dataDir), ...checkStore(store, dataDir), ...checkHistory(history, store), ...checkAdvertise(store, listen, ca)];
}
