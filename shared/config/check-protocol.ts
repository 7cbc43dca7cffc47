import { isObject } from './is-object.js';
import { grpcConditions } from '../grpc/conditions.js';
import type { Problem } from './load.js';

/**
 * Retries after statuses of gRPC need an upstream that gRPC can reach. `retries` are the retry sections that apply to it, by their path.
 * Takes any document, also a wrong one.
 */
export function checkProtocol(upstream: unknown, retries: readonly (readonly [path: string, retry: unknown])[]): Problem[] {
  const { protocol = 'h1' } = isObject(upstream) ? upstream : ({});
  if (protocol !== 'h1') return [];
  return retries.flatMap(([path, retry]) => {
    const conditions: unknown = isObject(retry) ? retry['on'] : undefined;
    const ofGrpc = (Array.isArray(conditions) ? conditions : []).filter((condition) => (grpcConditions as readonly unknown[]).includes(condition));
    return ofGrpc.length === 0 ? [] : [{ path: `${path}.on`, message: `${ofGrpc.join(', ')}: gRPC does not reach an upstream whose protocol is h1; set protocol to h2 or auto` }];
  });
}
