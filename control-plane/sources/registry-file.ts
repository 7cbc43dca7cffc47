import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import writeFileAtomic from 'write-file-atomic';
import { z } from 'zod';
import { endpointSchema, writeEndpoint } from '../../shared/config/endpoints.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Registry } from './registry.js';

const fileSchema = z.array(z.object({ service: z.string(), instance: z.string(), endpoint: endpointSchema.transform(writeEndpoint) }));

/**
 * Remembers who was registered, so that a proxy that starts after a restart is told of everybody. Only a hint: a damaged file is
 * left out, since every instance that lives registers again within a third of its lease, and proxies keep what they have until then.
 *
 * One write at a time, and one more for all that has changed meanwhile.
 */
export async function persistRegistry(registry: Registry, dataDir: string, graceMs: number, logger: Logger): Promise<() => Promise<void>> {
  const file = join(dataDir, 'registry.json');
  try {
    registry.restore(fileSchema.parse(JSON.parse(await readFile(file, 'utf8'))), graceMs);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') logger.warn({ err: error }, 'the registry of before cannot be read');
  }
  let isStale = false;
  let writing: Promise<void> | undefined;
  const write = async (): Promise<void> => {
    while (isStale) {
      isStale = false;
      const text = JSON.stringify(registry.instances.map(({ service, instance, endpoint }) => ({ service, instance, endpoint })));
      await writeFileAtomic(file, text, { mode: 0o600 }).catch((error: unknown) => logger.warn({ err: error }, 'the registry could not be written'));
    }
    writing = undefined;
  };
  registry.onChange(() => {
    isStale = true;
    writing ??= write();
  });
  return async () => writing;
}
