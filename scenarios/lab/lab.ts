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
  /** Kills a unit's process at once; only those that may crash are started again, after a while. */
  kill(unit: string): Promise<void>;
  close(): Promise<void>;
}

/** What is known of a process besides what it answers. */
export interface Observed {
  /** Exit code or signal, when it ended without being told to. */
  readonly ended: string | undefined;
  /** The end of what it wrote. */
  lastWords(): string;
}

/** Resolves once every unit answers 200 where it should, and what is done then is done. Rejects, naming the first that has ended or is not ready at the timeout, with its last words. */
export async function untilReady(lab: Pick<Lab, 'units' | 'url'>, timeoutMs: number, onReady: (unit: Unit) => void | Promise<void>, observed: (unit: Unit) => Observed | undefined): Promise<void> {
  const until = Date.now() + timeoutMs;
  let isOver = false;
  const waiting = lab.units.map(async (unit) => {
    const { port, path } = unit.ready;
    while (!(await (path === undefined ? answersPing(lab.url(unit.id, port)) : answers(lab.url(unit.id, port) + path)))) {
      if (isOver) return;
      const process = observed(unit);
      const fails = process?.ended !== undefined ? `ended while it was starting (${process.ended})` : Date.now() > until ? `was not ready after ${timeoutMs / 1_000} s` : undefined;
      if (fails !== undefined) throw new Error(`${unit.id} ${fails}${process === undefined ? '' : `; the last that it wrote:\n${process.lastWords()}`}`);
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    await onReady(unit);
  });
  try {
    await Promise.all(waiting);
  } finally {
    isOver = true;
  }
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
