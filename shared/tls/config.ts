import { z } from 'zod';

const pemPath = (what: string) => z.string().min(1).describe(`Path of a PEM file: ${what}. Read again when it changes.`);
const minVersion = z.enum(['TLSv1.2', 'TLSv1.3']).default('TLSv1.2').describe('The oldest version that is spoken.');

/** TLS towards clients. */
export const serverTlsSchema = z.strictObject({
  cert: pemPath('the certificate, then its intermediates'),
  key: pemPath('the private key'),
  certificates: z
    .array(z.strictObject({ hosts: z.array(z.string().min(1)).min(1), cert: pemPath('the certificate'), key: pemPath('the private key') }))
    .default([])
    .describe('Further certificates, each for the hosts it names (`*.example.org` for one label); chosen by the name that the client asks for (SNI).'),
  clientAuth: z
    .strictObject({
      ca: pemPath('the authorities that client certificates must come from'),
      required: z.boolean().default(true).describe('Whether a client without a certificate is turned away; one with a wrong certificate always is.'),
    })
    .optional()
    .describe('Asks clients for a certificate (mutual TLS).'),
  minVersion,
});
export type ServerTlsConfig = z.output<typeof serverTlsSchema>;

/** TLS towards an upstream. The certificate is always verified, and must be for the name that is called. */
export const clientTlsSchema = z.strictObject({
  ca: pemPath('the authorities to trust').optional().describe('Path of a PEM file: the authorities to trust; default: those that Node.js comes with.'),
  serverName: z.string().min(1).optional().describe('The name that the certificate must be for, also sent as SNI; default: the host of the endpoint.'),
  cert: pemPath('our certificate, for mutual TLS').optional(),
  key: pemPath('its private key').optional(),
  minVersion,
});
export type ClientTlsConfig = z.output<typeof clientTlsSchema>;
