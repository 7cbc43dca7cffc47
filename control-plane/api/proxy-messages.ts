import { z } from 'zod';
import { identityNameSchema, labelsSchema, weightSchema, zoneSchema } from '../../shared/config/endpoints.js';
import { address, duration } from '../../shared/config/units.js';

/* What proxies say, beside their answers to snapshots (shared/control/snapshot.ts). */

/** Who opens a stream. */
export const streamQuerySchema = z.strictObject({
  kind: z.enum(['gateway', 'sidecar']),
  service: z.string().max(128).optional().describe('The service that a sidecar stands beside.'),
  identity: z.enum(['true', 'false']).default('false').describe('Whether it can speak mutual TLS: without, endpoints come without `identity`.'),
});

/** An instance that registers, or renews its lease. */
export const registrationSchema = z.strictObject({
  address,
  zone: zoneSchema.optional(),
  weight: weightSchema.default(1),
  labels: labelsSchema.default({}),
  identity: identityNameSchema.optional().describe('SPIFFE name that its certificate proves.'),
  ttl: duration.describe('Length of the lease.'),
});
