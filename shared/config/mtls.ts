import { z } from 'zod';

/** Whom a listener of the mesh serves. */
const mtlsModeSchema = z.enum(['strict', 'permissive', 'off']);
export type MtlsMode = z.output<typeof mtlsModeSchema>;

export const inboundMtlsSchema = mtlsModeSchema
  .optional()
  .describe('Whether callers must prove who they are by mutual TLS: strict refuses plaintext; permissive and off take it too. Whoever speaks TLS must prove it in any case. Default: strict with an identity, otherwise off.');
