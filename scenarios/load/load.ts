import { Worker } from 'node:worker_threads';
import type { LoadResult, LoadSpec } from './spec.js';
import type { Message } from './worker.js';

export interface RunningLoad {
  /** When measuring began, or begins after the warm-up, by the clock of `performance.now()`; slices count from it. */
  readonly begunAt: number;
  readonly result: Promise<LoadResult>;
}

/**
 * Starts a load on a thread of its own, so that nothing the runner does delays a request. Resolves when the first is
 * due: on a busy machine that may be a second after it was asked for, and what is broken meanwhile is broken too early.
 */
export function startLoad(spec: LoadSpec): Promise<RunningLoad> {
  return new Promise((begun, failed) => {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: spec });
    const result = new Promise<LoadResult>((resolve, reject) => {
      worker.on('message', (message: Message) => {
        if ('begunAt' in message) begun({ begunAt: message.begunAt - performance.timeOrigin, result });
        else resolve(message.result);
      });
      worker.once('error', reject);
      worker.once('exit', (code) => reject(new Error(`the load generator ended with code ${code}`)));
    });
    result.catch(failed);
  });
}
