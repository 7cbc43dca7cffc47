import { Worker } from 'node:worker_threads';
import type { LoadResult, LoadSpec } from './spec.js';

/** Runs a load on a thread of its own, so that nothing the runner does delays a request. */
export function load(spec: LoadSpec): Promise<LoadResult> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: spec });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', (code) => reject(new Error(`the load generator ended with code ${code}`)));
  });
}
