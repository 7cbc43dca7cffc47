import { z } from 'zod';

/** The JSON Schema (draft 2020-12) of a configuration as people write it, for editors. */
export function jsonSchemaOf(schema: z.ZodType, title: string): Record<string, unknown> {
  return { title, ...z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) };
}
