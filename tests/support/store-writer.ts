import { systemClock } from '../../shared/clock/clock.js';
import { EmbeddedStore } from '../../control-plane/sources/embedded-store.js';

/*
 * Writes to an embedded store without end, to be killed in the middle. What was acknowledged goes to stdout, a line each:
 * version and name. Several writers at a time, so that groups are written too.
 */

const [directory = '', lane = '0'] = process.argv.slice(2);
const store = await EmbeddedStore.open({ directory, clock: systemClock, history: { revisions: 50, bytes: 65_536 } });
const opened = store.version;

async function write(writer: number): Promise<never> {
  for (let count = 0; ; count++) {
    const name = `s${lane}-${writer}-${count % 20}`;
    // Never the same twice, also not in two lives: what changes nothing makes no version.
    const endpoints = [`unix:/${opened}/${writer}/${count}`];
    const version = await store.change({ put: [{ kind: 'Service', name, endpoints }], by: 'writer', action: 'apply' });
    process.stdout.write(`${version} ${name} ${endpoints[0]!}\n`);
  }
}

process.stdout.write(`open ${opened}\n`);
await Promise.all([0, 1, 2].map(write));
