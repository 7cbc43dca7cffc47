import { z } from 'zod';
import { kindSchemas, resourceSchema, type Kind, type Resource } from './resources.js';

/**
 * Checks a document with `schema`, and gives it back as it was written: without defaults filled in and units read, so that
 * what is kept and shown is what its author knows. `name` is what the OpenAPI document calls it.
 */
export function asWritten<T extends z.ZodType>(schema: T, name: string): z.ZodType<z.input<T>, z.input<T>> {
  const document = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' });
  delete document.$schema;
  return z
    .custom<z.input<T>>()
    .check((context) => {
      const result = schema.safeParse(context.value);
      for (const issue of result.error?.issues ?? []) context.issues.push({ ...issue, input: inputAt(context.value, issue.path) } as z.core.$ZodRawIssue);
    })
    .meta({ ...document, 'x-name': name });
}

/** What tells a value that is missing from one that is wrong. */
function inputAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, key) => (typeof inner === 'object' && inner !== null ? (inner as Record<PropertyKey, unknown>)[key] : undefined), value);
}

/** A resource of any kind, as its author wrote it. */
export const writtenResource: z.ZodType<Resource, Resource> = asWritten(resourceSchema, 'Resource');

/** A resource whose address says its kind and name; where the document says them too, they must be the same. */
export function writtenOf(kind: Kind): z.ZodType<Partial<Resource>, Partial<Resource>> {
  const schema = kindSchemas[kind] as unknown as z.ZodObject<{ kind: z.ZodType; name: z.ZodType }>;
  return asWritten(schema.partial({ kind: true, name: true }), `${kind}Body`) as z.ZodType<Partial<Resource>, Partial<Resource>>;
}
