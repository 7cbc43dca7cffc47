import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { systemClock } from '../../shared/clock/clock.js';
import { seeded } from '../../tests/support/seeded.js';
import { EmbeddedStore } from './embedded-store.js';

const writer = fileURLToPath(new URL('../../tests/support/store-writer.js', import.meta.url));
/** `STORE_KILLS=5000` for more. */
const kills = Number(process.env['STORE_KILLS'] ?? 200);
/** On a machine so slow that fewer fit in, fewer it is (ms); with `STORE_KILLS` as many as were asked for. */
const patienceMs = process.env['STORE_KILLS'] === undefined ? 60_000 : Infinity;
const fewest = Math.min(kills, 20);
const lanes = 4;

/** One line of a writer: what it was told is on disk. */
interface Acknowledged {
  readonly version: number;
  readonly name: string;
  readonly endpoint: string;
}

/** Lets a writer be told of some writes, and kills it a moment later. Resolves with the version it opened at, and what it was told. */
async function writeAndKill(directory: string, lane: number, random: () => number): Promise<{ opened: number; acknowledged: Acknowledged[] }> {
  const child = spawn(process.execPath, [writer, directory, String(lane)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  let armed = false;
  const writes = Math.floor(random() * 7);
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString();
    // The first line says that it has opened.
    if (armed || output.split('\n').length - 1 <= writes) return;
    armed = true;
    setTimeout(() => child.kill('SIGKILL'), random() * 20);
  });
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  assert.equal(signal, 'SIGKILL', `the writer ended by itself: ${String(code)}`);
  const [first, ...lines] = output.split('\n').slice(0, -1);
  return {
    opened: Number(first!.split(' ')[1]),
    acknowledged: lines.map((line) => {
      const [version, name, endpoint] = line.split(' ');
      return { version: Number(version), name: name!, endpoint: endpoint! };
    }),
  };
}

describe('an embedded store whose process is killed -9 while it writes', () => {
  test(`loses nothing acknowledged, reads nothing half-written, and never goes back, ${kills} times`, async (context) => {
    const root = mkdtempSync(join(tmpdir(), 'killed-store-test-'));
    const until = Date.now() + patienceMs;
    let [done, writes] = [0, 0];
    const run = async (lane: number): Promise<void> => {
      const directory = join(root, String(lane));
      const random = seeded(lane + 1);
      const known = new Map<string, Acknowledged>();
      let newest = 0;
      while (done < kills && (Date.now() < until || done < fewest || writes <= done)) {
        done++;
        const { opened, acknowledged } = await writeAndKill(directory, lane, random);
        assert.ok(opened >= newest, `it opened at ${opened}, and had told of ${newest}`);
        for (const one of acknowledged) {
          assert.ok(one.version > newest, `version ${one.version} after ${newest}`);
          newest = one.version;
          known.set(one.name, one);
        }
        writes += acknowledged.length;
        const store = await EmbeddedStore.open({ directory, clock: systemClock });
        assert.ok(store.version >= newest, `version ${store.version} after ${newest} was acknowledged`);
        for (const { name, version, endpoint } of known.values()) {
          const found = store.model.get('Service', name) as { endpoints: string[] } | undefined;
          const at = store.versionOf('Service', name)!;
          // It may have been written again, and killed before it could say so.
          assert.ok(found !== undefined && at >= version, `${name} of version ${version} is gone`);
          if (at === version) assert.deepEqual(found.endpoints, [endpoint]);
        }
        newest = store.version;
        await store.close();
        assert.ok(readdirSync(directory).length <= 2, 'nothing piles up beside the file');
      }
    };
    try {
      const outcomes = await Promise.allSettled(Array.from({ length: lanes }, (_, lane) => run(lane)));
      for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason;
    } finally {
      rmSync(root, { recursive: true, force: true });
    }
    context.diagnostic(`${done} kills, ${writes} acknowledged writes`);
    assert.ok(done >= fewest, `only ${done} kills`);
    assert.ok(writes > done, `only ${writes} acknowledged writes in ${done} lives`);
  });
});
