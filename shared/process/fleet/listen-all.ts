import type { AddressInfo } from 'node:net';
import type { ListenFailure } from './messages.js';
import type { WorkerProcess } from './worker-process.js';

/**
 * One after the other at first: a Unix domain socket that a crash left behind must be taken away once, and a port that
 * is free for one is free for all. Rejects when none of them is about to open another port.
 */
export async function listenAll([first, ...others]: WorkerProcess[]): Promise<Readonly<Record<string, AddressInfo>>> {
  const addresses = await listen(first!);
  const outcomes = await Promise.allSettled(others.map(listen));
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
  return addresses;
}

async function listen(worker: WorkerProcess): Promise<Readonly<Record<string, AddressInfo>>> {
  worker.mayHaveConnections = true;
  const listening = await worker.call.listen();
  if ('failure' in listening) throw Object.assign(new Error(listening.failure.message), listening.failure satisfies ListenFailure, { syscall: 'listen' });
  worker.isServing = true;
  return listening.addresses;
}
