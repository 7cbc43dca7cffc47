import { RedisClient } from '../services/sessions/redis-client.js';
import type { Unit } from './declaration.js';

/** A lab that runs: whoever holds it does not care whether in child processes or containers. */
export interface Lab {
  readonly mode: 'embedded' | 'compose';
  readonly units: readonly Unit[];
  /** `http://host:port` of a unit's port, as the runner and the lab's own processes reach it. */
  url(unit: string, port: string): string;
  /** What was left out or replaced, in sentences for the report. */
  readonly notes: readonly string[];
  readonly adminToken: string | undefined;
  close(): Promise<void>;
}

/** Resolves once every unit answers 200 where it should. Rejects, naming those that do not, at the timeout. */
export async function untilReady(lab: Pick<Lab, 'units' | 'url'>, timeoutMs: number, onReady: (unit: Unit) => void, ended: (unit: Unit) => string | undefined): Promise<void> {
  const until = Date.now() + timeoutMs;
  await Promise.all(
    lab.units.map(async (unit) => {
      const { port, path } = unit.ready;
      while (!(await (path === undefined ? answersPing(lab.url(unit.id, port)) : answers(lab.url(unit.id, port) + path)))) {
        const end = ended(unit);
        if (end !== undefined) throw new Error(`${unit.id} ended while it was starting (${end})`);
        if (Date.now() > until) throw new Error(`${unit.id} was not ready after ${timeoutMs / 1_000} s`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      onReady(unit);
    }),
  );
}

async function answers(url: string): Promise<boolean> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(2_000) });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

async function answersPing(url: string): Promise<boolean> {
  const client = new RedisClient(new URL(url).host, 2_000);
  try {
    return (await client.send('PING')) === 'PONG';
  } catch {
    return false;
  } finally {
    client.close();
  }
}
