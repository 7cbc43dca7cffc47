import { isIP } from 'node:net';
import { z } from 'zod';
import { durationFrom, tcpAddress } from './units.js';

/* Where an upstream's endpoints come from, besides its own list. */

const resolverAddress = tcpAddress.refine(({ host }) => isIP(host) !== 0, { error: 'expected the address of a resolver, not its name' });

export const dnsDiscoverySchema = z
  .strictObject({
    name: z.string().regex(/^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?$/, 'expected a DNS name').describe('The name to look up, fully qualified: search domains are not tried.'),
    type: z.enum(['a', 'srv']).default('a').describe('a: the addresses of the name. srv: its SRV records, whose priority and weight the endpoints get.'),
    port: z.int().min(1).max(65_535).optional().describe('The port of every endpoint; needed for type a, while SRV records have their own.'),
    family: z.enum(['any', 'ipv4', 'ipv6']).default('any').describe('Which addresses are asked for.'),
    resolver: z.array(resolverAddress).min(1).max(8).optional().describe('Addresses of resolvers, tried in this order; default: those of the system.'),
    timeout: durationFrom(1).default(2_000).describe('How long one resolver may take to answer.'),
    refreshMin: durationFrom(1).default(5_000).describe('Least time between two look-ups, whatever the TTL.'),
    refreshMax: durationFrom(1).default(60_000).describe('Most time between two look-ups, whatever the TTL.'),
  })
  .refine(({ type, port }) => (type === 'a') === (port !== undefined), { path: ['port'], error: 'is needed for type a, and may not be there for type srv' })
  .refine(({ refreshMin, refreshMax }) => refreshMin <= refreshMax, { path: ['refreshMax'], error: 'must not be less than refreshMin' });
export type DnsDiscoveryConfig = z.output<typeof dnsDiscoverySchema>;

export const discoverySchema = z
  .strictObject({
    dns: dnsDiscoverySchema.optional().describe('Looks the endpoints up in the DNS.'),
    file: z.string().min(1).optional().describe('Path of a JSON or YAML file with a list of endpoints, in the same form as `endpoints`: a regular file of at most 1 MiB. Read again when it changes.'),
  })
  .refine(({ dns, file }) => (dns === undefined) !== (file === undefined), { error: 'exactly one of dns and file is needed' });
export type DiscoveryConfig = z.output<typeof discoverySchema>;
