import assert from 'node:assert/strict';
import cluster from 'node:cluster';
import { test, type TestContext } from 'node:test';
import { Gauge } from 'prom-client';
import { z } from 'zod';
import { systemClock } from '../../clock/clock.js';
import { limitsSchema, upstreamSchema } from '../../config/sections.js';
import { silentLogger, type Logger } from '../../telemetry/logger.js';
import { Lifecycle } from '../lifecycle.js';
import type { ProxyConfig, ProxyDefinition, Shared } from '../proxy.js';
import { runWorker } from './worker.js';
import { WorkerFleet } from './worker-fleet.js';

/** A version is named by its one upstream. The workers are this file too: the second of them refuses one, and fails at putting another in force. */
const version = (name: string): Shared => ({ upstreams: { [name]: upstreamSchema.parse({}) } });
const nameOf = ({ upstreams }: Shared): string => Object.keys(upstreams)[0]!;
const isSecond = cluster.worker?.id === 2;
/** A version that ends each worker up to the one of that number. */
const ends = (id: number): string => `ends${id}`;
const lastEnded = (name: string): number => Number(/^ends(\d+)$/.exec(name)?.[1] ?? 0);

const definition: ProxyDefinition<ProxyConfig, Shared> = {
  kind: 'gateway',
  description: '',
  schema: z.custom<ProxyConfig>(),
  crossCheck: () => [],
  parseSnapshot: async (document) => document as Shared,
  dynamicOf: ({ upstreams }) => ({ upstreams }),
  withDynamic: (config, dynamic) => ({ ...config, ...dynamic }),
  httpListeners: () => 1,
  create: async (config, { metrics }) => {
    let [inForce, built, discarded] = [nameOf(config), 0, 0];
    new Gauge({
      name: 'test_worker', help: 'What a worker has done.', labelNames: ['worker', 'inForce', 'built', 'discarded'], registers: [metrics.registry],
      collect() {
        this.reset();
        this.set({ worker: cluster.worker!.id, inForce, built, discarded }, 1);
      },
    });
    return {
      listen: async () => ({}),
      prepare: async (dynamic) => {
        const name = nameOf(dynamic);
        if (cluster.worker!.id <= lastEnded(name)) process.exit(3);
        if (isSecond && name === 'refused') throw new Error('the second cannot build it');
        built++;
        return {
          commit: () => {
            if (isSecond && name === 'stuck') throw new Error('the second cannot take it');
            inForce = name;
          },
          discard: () => {
            discarded++;
          },
        };
      },
      upstreams: () => [],
      drain: async () => {},
      close: async () => {},
    };
  },
};

/** Two workers that started with the version `first`; `told` are the errors in the log. */
async function start(context: TestContext) {
  const told: string[] = [];
  const logger = Object.assign(Object.create(silentLogger) as Logger, { error: (_about: object, message: string) => told.push(message) });
  const config = { workers: 2, logLevel: 'silent', accessLog: false, drainTimeout: 1_000, drainDelay: 0, admin: { host: '', port: 0 }, limits: limitsSchema.parse({}), ...version('first') };
  const lifecycle = new Lifecycle({ clock: systemClock, logger, drainDelayMs: 0, drainTimeoutMs: 1_000 });
  const fleet = new WorkerFleet(definition, config, () => 2, { clock: systemClock, logger, lifecycle, schema: () => ({}), version: '', onReload: () => {}, drain: () => {} });
  // As the admin server does where there is no worker.
  const alive = setInterval(() => {}, 60_000);
  context.after(() => {
    clearInterval(alive);
    return fleet.close();
  });
  await fleet.create();
  await fleet.listen();
  const workers = async (): Promise<string[]> => [...String(await fleet.collect()).matchAll(/^test_worker\{worker="(\d+)",inForce="(\w+)",built="(\d+)",discarded="(\d+)"\} 1$/gm)].map(([, id, inForce, built, discarded]) => `${id}: ${inForce}, built ${built}, discarded ${discarded}`).sort();
  return { fleet, told, workers };
}

if (cluster.isWorker) runWorker(definition);
else {
  test('a version that one worker refuses changes nothing in any; one that all can build is in force in all; one that fails at it is replaced', async (context) => {
    const { fleet, told, workers } = await start(context);
    await assert.rejects(fleet.apply(version('refused')), /the second cannot build it/);
    assert.deepEqual(await workers(), ['1: first, built 1, discarded 1', '2: first, built 0, discarded 0']);

    await fleet.apply(version('good'));
    assert.deepEqual(await workers(), ['1: good, built 2, discarded 1', '2: good, built 1, discarded 0']);

    await fleet.apply(version('stuck'));
    assert.equal(told[0], 'a worker cannot put its configuration in force; it is ended');
    while ((await workers()).length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(await workers(), ['1: stuck, built 3, discarded 1', '3: stuck, built 0, discarded 0']);
  });

  test('a version that no worker survives is refused, and those that come serve the one before', async (context) => {
    const { fleet, workers } = await start(context);
    await assert.rejects(fleet.apply(version(ends(1_000))), /no worker lives long enough/);
    while ((await workers()).length < 2) await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual((await workers()).map((said) => said.replace(/^\d+/, 'one')), Array(2).fill('one: first, built 0, discarded 0'));
  });

  test('a version that comes when no worker lives is built by those that come', async (context) => {
    const { fleet, workers } = await start(context);
    const name = ends(Math.max(...(await workers()).map((said) => parseInt(said, 10))));
    await fleet.apply(version(name));
    while ((await workers()).length < 2) await new Promise((resolve) => setImmediate(resolve));
    const said = (await workers()).map((line) => line.replace(/^\d+/, 'one'));
    assert.ok(said.every((line) => line.startsWith(`one: ${name},`)) && said.some((line) => line.includes('built 1')), said.join());
  });
}
