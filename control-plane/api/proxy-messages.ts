import { z } from 'zod';

/* What proxies say, beside their answers to snapshots (shared/control/snapshot.ts). */

/** Who opens a stream. */
export const streamQuerySchema = z.strictObject({
  kind: z.enum(['gateway', 'sidecar']).describe('What the proxy is.'),
  service: z.string().max(128).optional().describe('The service that a sidecar stands beside.'),
  identity: z.enum(['true', 'false']).default('false').describe('Whether it can speak mutual TLS: without, endpoints come without `identity`.'),
});
