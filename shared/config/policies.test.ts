import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { z } from 'zod';
import { healthCheckSchema, outlierDetectionSchema } from './health.js';
import { breakerSchema, jwtSchema, rateLimitSchema, retrySchema } from './policies.js';
import { adaptiveConcurrencySchema, hedgeSchema, retryBudgetSchema } from './resilience.js';
import { matchSchema } from './routes.js';
import { limitsSchema, upstreamSchema } from './sections.js';

const jwt = { issuer: 'a', audience: 'b', jwksUri: 'https://a/keys' };
const levels = { high: 1 };

/** What would be taken and then protect nobody, or ask without a pause. */
const refused: readonly (readonly [name: string, schema: z.ZodType, base: object, wrong: object, message: RegExp])[] = [
  ['a method of a route in small letters, which no request has', matchSchema, {}, { method: 'delete' }, /capitals/],
  ['one of several', matchSchema, {}, { method: ['GET', 'Put'] }, /capitals/],
  ['a method to retry', retrySchema, {}, { methods: ['get'] }, /capitals/],
  ['a method to hedge', hedgeSchema, { delay: 10 }, { methods: ['get'] }, /capitals/],
  ['a quota without a window', rateLimitSchema, { max: 1, key: 'ip' }, { timeWindow: 0 }, /at least 1ms, got 0ms/],
  ['keys that are fetched all the time', jwtSchema, jwt, { cacheMaxAge: 0 }, /at least 1000ms/],
  ['keys that cannot be fetched', jwtSchema, jwt, { fetchTimeout: 0 }, /at least 1ms/],
  ['a breaker that counts nothing', breakerSchema, {}, { window: 0 }, /at least 1ms/],
  ['a budget that counts nothing', retryBudgetSchema, {}, { window: 0 }, /at least 1ms/],
  ['checks without a pause', healthCheckSchema, {}, { interval: 0 }, /at least 1ms/],
  ['ejections that end at once', outlierDetectionSchema, {}, { baseEjectionTime: 0 }, /at least 1ms/],
  ['no time for an answer', upstreamSchema, {}, { timeout: 0 }, /at least 1ms/],
  ['no time for a connection', upstreamSchema, {}, { connectTimeout: 0 }, /at least 1ms/],
  ['heads that nobody can send', limitsSchema, {}, { maxHeadBytes: 32 }, /at least 256 bytes, got 32/],
  ['targets that nobody can ask for', limitsSchema, {}, { maxTargetBytes: 0 }, /at least 64 bytes/],
  ['a level that only every object has', adaptiveConcurrencySchema, { priority: { levels, default: 'high' } }, { priority: { levels, default: 'constructor' } }, /none of the levels/],
];

describe('policies', () => {
  for (const [name, schema, base, wrong, message] of refused) {
    test(`refuse ${name}`, () => {
      assert.ok(schema.safeParse(base).success);
      assert.match(schema.safeParse({ ...base, ...wrong }).error?.message ?? '', message);
    });
  }
});
