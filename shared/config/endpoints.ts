import { z } from 'zod';
import { address, type Address } from './units.js';

/** One address of an upstream, and what balancing may know about it. */
export interface EndpointConfig {
  readonly address: Address;
  /** Its share of the traffic relative to the others. */
  readonly weight: number;
  readonly zone: string | undefined;
  /** 0 is used first; a higher one only when those below it are lost. */
  readonly priority: number;
  readonly labels: Readonly<Record<string, string>>;
}

const described = z.strictObject({
  address,
  weight: z.int().min(1).max(1_000).default(1).describe('Share of the traffic, relative to the other endpoints.'),
  zone: z.string().min(1).max(63).optional().describe('Where it runs: the proxy prefers its own zone.'),
  priority: z.int().min(0).max(16).default(0).describe('0 is used first; a higher one only when those below it are lost.'),
  labels: z.record(z.string().min(1).max(63), z.string().max(63)).default({}).describe('What subsets are chosen by, such as { version: v2 }.'),
});

/** `host:port`, `unix:/path`, or an object with `address` that says more. */
export const endpointSchema = z.union([address.transform(plainEndpoint), described.transform(({ zone, ...rest }): EndpointConfig => ({ zone, ...rest }))]);

/** An endpoint of which nothing but its address is known. */
export function plainEndpoint(address: Address): EndpointConfig {
  return { address, weight: 1, zone: undefined, priority: 0, labels: {} };
}
