import { z } from 'zod';
import { asWritten, writtenOf, writtenResource } from '../model/written.js';
import { kindSchemas, type Kind, type Resource } from '../model/resources.js';

/* What requests and answers look like: what is checked, and what the OpenAPI document says, are the same. */

const kinds = Object.keys(kindSchemas) as Kind[];
const version = z.int().min(0).describe('A version: of the whole, unless it is said to be that of a resource.');
const action = z.enum(['created', 'updated', 'deleted']);

export const name = z.string().min(1).max(63).describe('Name of the resource.');
export const nameParams = z.object({ name });
export const versionParams = z.object({ version: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).describe('A version of the whole.') });
export const noQuery = z.strictObject({});
export const dryRunQuery = z.strictObject({ dryRun: z.enum(['true', 'false']).optional().describe('Whether to say only what would be changed, and change nothing.') });

/** A resource of each kind, as it is answered with. */
export const written = Object.fromEntries(kinds.map((kind) => [kind, asWritten(kindSchemas[kind], kind)])) as Readonly<Record<Kind, z.ZodType>>;
/** A resource of each kind, as it is sent to its own address. */
export const bodies = Object.fromEntries(kinds.map((kind) => [kind, writtenOf(kind)])) as Readonly<Record<Kind, z.ZodType<Partial<Resource>, Partial<Resource>>>>;

export const listOf = (kind: Kind) => z.object({ version, items: z.array(written[kind]) }).describe(`Every ${kind}, by name.`);

const changedResource = z
  .object({
    kind: z.enum(kinds),
    name: z.string(),
    action,
    before: writtenResource.optional().describe('What was there; missing for one that is new.'),
    after: writtenResource.optional().describe('What is there now; missing for one that was deleted.'),
  })
  .meta({ 'x-name': 'ResourceChange' });

export const changeAnswer = z
  .object({
    version: version.describe('The version that the change made; the present one where nothing differed, and in a dry run.'),
    dryRun: z.literal(true).optional().describe('Nothing was changed: this is what would be.'),
    changes: z.array(changedResource).describe('What was changed. Only a dry run says from what and to what; otherwise history does.'),
  })
  .meta({ 'x-name': 'Change', description: 'What was changed.' });

const who = {
  version,
  at: z.string().meta({ format: 'date-time' }).describe('When.'),
  by: z.string().describe('Who: the name of a token, or a SPIFFE name.'),
  action: z.string().describe('What was asked for: apply, create, update, delete, rollback to 17, seed.'),
};
export const revisionSummary = z
  .object({ ...who, changes: z.array(changedResource.pick({ kind: true, name: true, action: true })) })
  .meta({ 'x-name': 'RevisionSummary', description: 'A version, and what it changed, without the resources themselves.' });
export const revision = z
  .object({ ...who, changes: z.array(changedResource), resources: z.array(writtenResource).optional().describe('With resources=true: all resources as they were at this version.') })
  .meta({ 'x-name': 'Revision', description: 'A version, and what it changed.' });

export const problemDocument = z
  .object({
    type: z.string(),
    status: z.int(),
    code: z.string().describe('Stable; what programs should look at.'),
    detail: z.string(),
    problems: z.array(z.object({ path: z.string().describe('Where in the document.'), message: z.string() })).optional().describe('Everything that is wrong with the document.'),
    current: z.object({ version, resource: writtenResource.optional() }).optional().describe('With 412 and 409: what is there now.'),
    oldest: version.optional().describe('With 404 and 410: the oldest version that history reaches back to.'),
  })
  .meta({ 'x-name': 'Problem', description: 'Why a request was refused (RFC 9457).' });
