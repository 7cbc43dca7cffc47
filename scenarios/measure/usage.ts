import { RedisClient } from '../services/sessions/redis-client.js';
import type { Lab } from '../lab/lab.js';
import type { Unit } from '../lab/declaration.js';

/** What a process used, by its own account. */
interface Usage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

/** What a process used between two readings, and the memory that it held at the second. */
export interface UnitCost {
  readonly unit: string;
  readonly role: Unit['role'];
  readonly cpuMs: number;
  readonly residentBytes: number;
}

/** Reads CPU time and memory of units, of every one if none are named, from their `/metrics`. */
export async function readUsage(lab: Lab, ids?: readonly string[]): Promise<Map<string, Usage>> {
  const units = ids === undefined ? lab.units : lab.units.filter(({ id }) => ids.includes(id));
  return new Map(await Promise.all(units.map(async (unit) => [unit.id, await readUnit(lab, unit)] as const)));
}

/** What the units that were read used between two readings. */
export function costBetween(lab: Lab, before: ReadonlyMap<string, Usage>, after: ReadonlyMap<string, Usage>): UnitCost[] {
  return lab.units.filter(({ id }) => before.has(id)).map(({ id, role }) => {
    const [start, end] = [before.get(id)!, after.get(id)!];
    // A process that was started again in between counts from its start.
    const cpuSeconds = end.cpuSeconds >= start.cpuSeconds ? end.cpuSeconds - start.cpuSeconds : end.cpuSeconds;
    return { unit: id, role, cpuMs: cpuSeconds * 1_000, residentBytes: end.residentBytes };
  });
}

async function readUnit(lab: Lab, unit: Unit): Promise<Usage> {
  if (unit.role === 'store') return readStore(new URL(lab.url(unit.id, 'redis')).host);
  const port = unit.ports.find(({ name }) => name === 'admin' || name === 'control' || name === 'api')!.name;
  try {
    const text = await (await fetch(`${lab.url(unit.id, port)}/metrics`, { signal: AbortSignal.timeout(3_000) })).text();
    return { cpuSeconds: sample(text, 'process_cpu_seconds_total'), residentBytes: sample(text, 'process_resident_memory_bytes') };
  } catch {
    // A process that is down on purpose uses nothing.
    return { cpuSeconds: 0, residentBytes: 0 };
  }
}

/** The same of a Redis, by its INFO. */
async function readStore(address: string): Promise<Usage> {
  const client = new RedisClient(address, 3_000);
  try {
    const text = String(await client.send('INFO', 'everything'));
    const field = (name: string): number => Number(new RegExp(`^${name}:(\\S+)`, 'm').exec(text)?.[1] ?? 0);
    return { cpuSeconds: field('used_cpu_user') + field('used_cpu_sys'), residentBytes: field('used_memory_rss') };
  } catch {
    return { cpuSeconds: 0, residentBytes: 0 };
  } finally {
    client.close();
  }
}

/** The value of a metric without labels in Prometheus' text format. */
export function sample(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1] ?? 0);
}
