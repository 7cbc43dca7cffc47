import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { z } from 'zod';
import { endpointSchema, writeEndpoint } from '../../shared/config/endpoints.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Registry } from './registry.js';

const fileSchema = z.array(z.object({ service: z.string(), instance: z.string(), endpoint: endpointSchema.transform(writeEndpoint) }));

/**
 * Remembers who was registered, so that a restart never empties an upstream. Only a hint: a damaged file is
 * left out, since every instance that lives registers again within a third of its lease.
 */
export async function persistRegistry(registry: Registry, dataDir: string, graceMs: number, logger: Logger): Promise<() => Promise<void>> {
  const file = join(dataDir, 'registry.json');
  try {
    registry.restore(fileSchema.parse(JSON.parse(await readFile(file, 'utf8'))), graceMs);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') logger.warn({ err: error }, 'the registry of before cannot be read');
  }
  let writing: Promise<void> = Promise.resolve();
  registry.onChange(() => {
    writing = writing
      .then(() => writeFileAtomic(file, JSON.stringify(registry.instances.map(({ service, instance, endpoint }) => ({ service, instance, endpoint }))), { mode: 0o600 }))
      .catch((error: unknown) => logger.warn({ err: error }, 'the registry could not be written'));
  });
  return () => writing;
}
