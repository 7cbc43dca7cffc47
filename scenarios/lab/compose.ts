import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hostOf, killFolder, labToken, portOf } from '../compose/generate.js';
import { units } from './declaration.js';
import { untilReady, type Lab } from './lab.js';

/** The lab as compose has started it, seen from a container in its network. */
export async function connectCompose(onProgress: (ready: number, all: number, unit: string) => void): Promise<Lab> {
  const find = (id: string): (typeof units)[number] => units.find((unit) => unit.id === id)!;
  const lab: Lab = {
    mode: 'compose',
    units,
    adminToken: labToken('lab'),
    notes: [],
    url: (id, port) => `http://${hostOf(find(id))}:${portOf(find(id), port)}`,
    // Its supervisor looks for this file.
    kill: (id) => writeFile(join(killFolder, id), ''),
    close: async () => {},
  };
  let ready = 0;
  await untilReady(lab, 120_000, (unit) => onProgress(++ready, units.length, unit.id), () => undefined);
  return lab;
}
