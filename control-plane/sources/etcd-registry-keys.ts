import { z } from 'zod';
import { endpointSchema, writeEndpoint } from '../../shared/config/endpoints.js';
import type { IKeyValue } from './etcd-client.js';
import { part, unpart } from './etcd-keys.js';
import type { Known } from './etcd-registry-view.js';
import type { Instance } from './instances.js';

const recordSchema = z.object({ endpoint: endpointSchema.transform(writeEndpoint), ttlMs: z.number().positive() });

/**
 * Where the keys of the registry are:
 *
 *     /registry/records/SERVICE/INSTANCE   {"endpoint":…,"ttlMs":5000}
 *     /registry/leases/SERVICE/INSTANCE    nothing, on the instance's lease
 *     /registry/control-planes/ID          nothing, on a lease of the control plane's own
 */
export function registryKeys(prefix: string) {
  const all = `${prefix}/registry/`;
  const prefixes = { record: `${all}records/`, lease: `${all}leases/` } as const;
  return {
    all,
    controlPlanes: `${all}control-planes/`,
    record: (key: string) => prefixes.record + key,
    lease: (key: string) => prefixes.lease + key,
    /** What is behind the prefix of a kind, as a list of one; none for another's key. */
    read(key: Buffer, kind: keyof typeof prefixes): string[] {
      const text = key.toString();
      return text.startsWith(prefixes[kind]) ? [text.slice(prefixes[kind].length)] : [];
    },
  };
}

export function keyOf({ service, instance }: Pick<Instance, 'service' | 'instance'>): string {
  return `${part(service)}/${part(instance)}`;
}

export function writeInstance({ endpoint }: Instance, ttlMs: number): string {
  return JSON.stringify({ endpoint, ttlMs });
}

/** What a record says, as a list of one; none when it cannot be read. */
export function instanceOf(key: string, { value, mod_revision }: IKeyValue): Known[] {
  const [service, instance] = key.split('/').map(unpart);
  try {
    const { endpoint, ttlMs } = recordSchema.parse(JSON.parse(value.toString()));
    return [{ service: service!, instance: instance!, endpoint, ttlMs, revision: Number(mod_revision), lease: undefined, renewedAt: undefined, graceUntil: undefined, suspectedAt: undefined }];
  } catch {
    return [];
  }
}
