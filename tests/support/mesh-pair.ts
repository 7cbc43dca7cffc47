import type { TestContext } from 'node:test';
import { request as httpRequest, type Agent } from 'node:http';
import { readBody } from './origin.js';
import { portIn, TestProcess } from './process.js';
import { until } from './until.js';

const listen = { host: '127.0.0.1', port: 0 } as const;

export interface MeshProxy {
  readonly process: TestProcess;
  readonly config: Record<string, unknown>;
  readonly port: (name: string) => number;
  /** The value of a metric with these labels, as the text has it; 0 while there is none. */
  readonly metric: (series: string) => Promise<number>;
  /** Resolves once a metric has this value. */
  readonly counted: (series: string, value: number) => Promise<void>;
}

export interface Identity {
  readonly cert: string;
  readonly key: string;
  readonly bundle: string;
}

/** A proxy as a process, stopped with the test. */
export async function startProxy(context: Pick<TestContext, 'after'>, kind: 'sidecar' | 'gateway', config: Record<string, unknown>): Promise<MeshProxy> {
  const whole = { admin: listen, drainTimeout: '2s', ...config };
  const process = new TestProcess(`${kind}/main.js`, whole);
  context.after(() => process.stop());
  const ready = await process.logged('ready');
  const metric = async (series: string): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
    return Number(text.split('\n').find((line) => line.startsWith(`${series} `))?.slice(series.length + 1) ?? 0);
  };
  return {
    process,
    config: whole,
    port: (name) => portIn(ready, name),
    metric,
    async counted(series, value) {
      await until(async () => (await metric(series)) === value);
    },
  };
}

/** The sidecar beside `inventory`. */
export function serverOf(context: Pick<TestContext, 'after'>, app: number, identity: Identity | undefined, { inbound = {}, ...more }: { inbound?: object } & Record<string, unknown> = {}): Promise<MeshProxy> {
  return startProxy(context, 'sidecar', { service: 'inventory', ...(identity && { identity: pathsOf(identity) }), inbound: { listen, app: `127.0.0.1:${app}`, ...inbound }, ...more });
}

/** The sidecar beside `orders`, which knows `inventory` at a port, and by which name. */
export function clientOf(context: Pick<TestContext, 'after'>, port: number, identity: Identity | undefined, { upstream = {}, name = 'spiffe://mesh.test/ns/default/sa/inventory', ...more }: { upstream?: object; name?: string } & Record<string, unknown> = {}): Promise<MeshProxy> {
  return startProxy(context, 'sidecar', {
    service: 'orders',
    ...(identity && { identity: pathsOf(identity) }),
    outbound: { listen },
    upstreams: { inventory: { endpoints: [{ address: `127.0.0.1:${port}`, identity: name }], ...upstream } },
    ...more,
  });
}

export interface Reply {
  readonly status: number;
  readonly body: string;
}

/** What the application of `orders` asks of `inventory`, by way of its sidecar; or anybody of any port. */
export function ask(port: number, { headers = {}, agent, path = '/', method = 'GET', body }: { headers?: Record<string, string>; agent?: Agent; path?: string; method?: string; body?: string } = {}): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({ host: '127.0.0.1', port, path, method, headers: { host: 'inventory', ...headers }, ...(agent && { agent }) }, (response) => {
      readBody(response).then((text) => resolve({ status: response.statusCode!, body: text }), reject);
    });
    request.on('error', reject);
    request.end(body);
  });
}

/** Callers that ask without a pause until they are told to stop: what they got that was not 200, and how much was. */
export function load(port: number, callers: number, options: Parameters<typeof ask>[1] = {}): { readonly stop: () => Promise<{ readonly answered: number; readonly lost: string[] }> } {
  let isOver = false;
  let answered = 0;
  const lost: string[] = [];
  const loops = Array.from({ length: callers }, async () => {
    while (!isOver) {
      await ask(port, options).then(
        ({ status, body }) => (status === 200 ? answered++ : lost.push(`${status} ${body}`)),
        (error: unknown) => lost.push(String(error)),
      );
    }
  });
  return {
    async stop() {
      isOver = true;
      await Promise.all(loops);
      return { answered, lost };
    },
  };
}

function pathsOf({ cert, key, bundle }: Identity): Identity {
  return { cert, key, bundle };
}
