import { z } from 'zod';
import { pattern } from './patterns.js';

const text = z.string().max(1_024);

/** What a header, cookie or query parameter must be like: its exact value, or one of the ways to say it. */
export const valueMatchSchema = z.union([
  text,
  z
    .strictObject({
      exact: text.optional().describe('The whole value.'),
      prefix: text.min(1).optional().describe('How the value begins.'),
      regex: pattern.optional().describe('A pattern that the whole value matches.'),
      present: z.boolean().optional().describe('true: it is there, whatever its value. false: it is not there.'),
    })
    .refine((match) => Object.values(match).filter((value) => value !== undefined).length === 1, { error: 'exactly one of exact, prefix, regex and present is needed' }),
]);
export type ValueMatch = z.output<typeof valueMatchSchema>;
