import { z } from 'zod';
import { valueConditions } from '../../shared/config/routes.js';

const conditions = z
  .strictObject(valueConditions)
  .refine((match) => Object.values(match).some((fields) => fields !== undefined && Object.keys(fields).length > 0), { error: 'at least one field, cookie or parameter is needed' });

/**
 * Requests for a service that say so themselves go to another one: who wants the canary, or is meant to. Where requests
 * are sent from it becomes a route with more conditions, which therefore goes before the others; no proxy knows it as a policy.
 */
export const divertSchema = z
  .array(
    z.strictObject({
      match: conditions.describe('What a request must carry: headers, cookies, query.'),
      upstream: z.string().min(1).describe('The service that gets it instead.'),
    }),
  )
  .min(1)
  .max(16)
  .describe('Sends requests that carry something to another service. Goes before split, and the first of two with equally many conditions counts.');
