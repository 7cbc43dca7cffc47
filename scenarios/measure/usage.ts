import type { Lab } from '../lab/lab.js';
import type { Unit } from '../lab/declaration.js';

/** What a process used, by its own account. */
export interface Usage {
  readonly cpuSeconds: number;
  readonly residentBytes: number;
}

/** What a process used between two readings. */
export interface UnitCost {
  readonly unit: string;
  readonly role: Unit['role'];
  readonly cpuMs: number;
  readonly residentBytes: number;
}

/** Reads CPU time and memory of every unit from its `/metrics`. */
export async function readUsage(lab: Lab): Promise<Map<string, Usage>> {
  return new Map(await Promise.all(lab.units.map(async (unit) => [unit.id, await readUnit(lab, unit)] as const)));
}

export function costBetween(lab: Lab, before: ReadonlyMap<string, Usage>, after: ReadonlyMap<string, Usage>): UnitCost[] {
  return lab.units.map(({ id, role }) => {
    const [start, end] = [before.get(id)!, after.get(id)!];
    // A process that was started again in between counts from its start.
    const cpuSeconds = end.cpuSeconds >= start.cpuSeconds ? end.cpuSeconds - start.cpuSeconds : end.cpuSeconds;
    return { unit: id, role, cpuMs: cpuSeconds * 1_000, residentBytes: end.residentBytes };
  });
}

async function readUnit(lab: Lab, unit: Unit): Promise<Usage> {
  const port = unit.ports.find(({ name }) => name === 'admin' || name === 'control' || name === 'api')!.name;
  try {
    const text = await (await fetch(`${lab.url(unit.id, port)}/metrics`, { signal: AbortSignal.timeout(3_000) })).text();
    return { cpuSeconds: sample(text, 'process_cpu_seconds_total'), residentBytes: sample(text, 'process_resident_memory_bytes') };
  } catch {
    // A process that is down on purpose uses nothing.
    return { cpuSeconds: 0, residentBytes: 0 };
  }
}

/** The value of a metric without labels in Prometheus' text format. */
export function sample(text: string, name: string): number {
  return Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1] ?? 0);
}
