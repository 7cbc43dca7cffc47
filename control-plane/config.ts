import { z } from 'zod';
import { listenSchema } from '../shared/config/sections.js';
import { duration } from '../shared/config/units.js';
import type { Problem } from '../shared/config/load.js';
import { resourceSchema } from './model/resources.js';
import { checkStore, storeSchema } from './store-config.js';

export const controlPlaneProcessSchema = z.strictObject({
  listen: listenSchema,
  dataDir: z.string().min(1).optional().describe('Directory where resources are kept; without it they live in memory.'),
  store: storeSchema.optional().describe('Where everything is kept that several control planes may share; `dataDir` is the short way to an embedded one.'),
  tokens: z
    .strictObject({
      admin: z.array(z.string().min(16)).default([]).describe('Bearer tokens that may change resources.'),
      proxy: z.array(z.string().min(16)).default([]).describe('Bearer tokens of proxies.'),
    })
    .optional()
    .describe('Who may do what; without it everybody may, on loopback only.'),
  resources: z.array(resourceSchema).default([]).describe('Resources that an empty store starts with.'),
  leaseGrace: duration.default(10_000).describe('After a start, how long instances of before keep their place without renewing.'),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
  drainTimeout: duration.default(5_000),
  drainDelay: duration.default(0),
});
export type ControlPlaneProcessConfig = z.output<typeof controlPlaneProcessSchema>;

/** What no schema of single values can see. Takes any document, also a wrong one. */
export function crossCheck(document: unknown): Problem[] {
  const { listen, tokens, store, dataDir } = (typeof document === 'object' && document !== null ? document : {}) as { listen?: { host?: unknown }; tokens?: unknown; store?: unknown; dataDir?: unknown };
  const host = listen?.host ?? '127.0.0.1';
  const isLoopback = host === 'localhost' || host === '::1' || (typeof host === 'string' && host.startsWith('127.'));
  const access: Problem[] = isLoopback || tokens !== undefined ? [] : [{ path: 'tokens', message: `are needed to listen on ${JSON.stringify(host)}: without them only loopback is allowed` }];
  return [...access, ...checkStore(store, dataDir)];
}
