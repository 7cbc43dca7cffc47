import { parentPort, workerData } from 'node:worker_threads';
import { generate } from './generator.js';
import type { LoadSpec } from './spec.js';

parentPort?.postMessage(await generate(workerData as LoadSpec));
