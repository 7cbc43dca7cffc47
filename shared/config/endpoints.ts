import { z } from 'zod';
import { parseSpiffeId } from '../identity/spiffe.js';
import { address, formatAddress, type Address } from './units.js';

/** One address of an upstream, and what balancing may know about it. */
export interface EndpointConfig {
  readonly address: Address;
  /** Its share of the traffic relative to the others. */
  readonly weight: number;
  readonly zone: string | undefined;
  /** 0 is used first; a higher one only when those below it are lost. */
  readonly priority: number;
  readonly labels: Readonly<Record<string, string>>;
  /** SPIFFE name of the workload there: connections to it are mutual TLS, and it must prove this name. Without it they are not. */
  readonly identity?: string | undefined;
}

export const weightSchema = z.int().min(1).max(1_000);
export const zoneSchema = z.string().min(1).max(63);
export const labelsSchema = z.record(z.string().min(1).max(63), z.string().max(63));

export const identityNameSchema = z.string().refine((uri) => parseSpiffeId(uri) !== undefined, 'expected spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE');

export const trustDomainSchema = z
  .string()
  .max(255)
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/, 'expected a lower-case DNS name');

const described = z.strictObject({
  address,
  weight: weightSchema.default(1).describe('Share of the traffic, relative to the other endpoints.'),
  zone: zoneSchema.optional().describe('Where it runs: the proxy prefers its own zone.'),
  priority: z.int().min(0).max(16).default(0).describe('0 is used first; a higher one only when those below it are lost.'),
  labels: labelsSchema.default({}).describe('What subsets are chosen by, such as { version: v2 }.'),
  identity: identityNameSchema.optional().describe('SPIFFE name of the workload there: it is spoken to by mutual TLS with this proxy’s identity, and must prove this name.'),
});

/** `host:port`, `unix:/path`, or an object with `address` that says more. */
export const endpointSchema = z.union([address.transform(plainEndpoint), described.transform(({ zone, identity, ...rest }): EndpointConfig => ({ zone, ...rest, ...(identity !== undefined && { identity }) }))]);

/** An endpoint as configuration writes it. */
export type WrittenEndpoint = z.input<typeof endpointSchema>;

export function addressOf(endpoint: WrittenEndpoint): string {
  return typeof endpoint === 'string' ? endpoint : endpoint.address;
}

/** An endpoint of which nothing but its address is known. */
export function plainEndpoint(address: Address): EndpointConfig {
  return { address, weight: 1, zone: undefined, priority: 0, labels: {} };
}

/** The shortest way to write an endpoint, which parses to the same again. */
export function writeEndpoint({ address, weight, zone, priority, labels, identity }: EndpointConfig): WrittenEndpoint {
  const more = {
    ...(weight !== 1 && { weight }),
    ...(zone !== undefined && { zone }),
    ...(priority !== 0 && { priority }),
    ...(Object.keys(labels).length > 0 && { labels }),
    ...(identity !== undefined && { identity }),
  };
  const text = formatAddress(address);
  return Object.keys(more).length === 0 ? text : { address: text, ...more };
}
