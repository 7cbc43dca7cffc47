import { parentPort, workerData } from 'node:worker_threads';
import { generate } from './generator.js';
import type { LoadResult, LoadSpec } from './spec.js';

/** What the thread tells: first when measuring begins, in milliseconds of the epoch, since each thread has a clock of its own; then what came of it. */
export type Message = { readonly begunAt: number } | { readonly result: LoadResult };

const tell = (message: Message): void => parentPort!.postMessage(message);

tell({ result: await generate(workerData as LoadSpec, (begunAt) => tell({ begunAt: performance.timeOrigin + begunAt })) });
