import assert from 'node:assert/strict';
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http';
import type { TestContext } from 'node:test';
import { httpOrigin, readBody, type Origin } from './origin.js';
import { portIn, TestProcess } from './process.js';

/*
 * The same routes in each placement: in the gateway, and in the sidecar of the one that calls. What differs is the name of
 * the process and of its listener.
 */

export const listen = { host: '127.0.0.1', port: 0 };
export const placements = {
  gateway: { entry: 'gateway/main.js', port: 'listen', config: { listen } },
  sidecar: { entry: 'sidecar/main.js', port: 'outbound', config: { service: 'orders', outbound: { listen } } },
} as const;

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Started {
  readonly process: TestProcess;
  readonly port: number;
  readonly send: (options?: { readonly path?: string; readonly method?: string; readonly headers?: Record<string, string>; readonly body?: string | Buffer | (string | Buffer)[] }) => Promise<Answer>;
  readonly metrics: () => Promise<string>;
  /** Resolves once a metric has this value. */
  readonly counted: (metric: string, value: number) => Promise<void>;
}

export type Start = (routes: readonly object[], upstreams: Readonly<Record<string, number | readonly [port: number, settings: object]>>) => Promise<Started>;

export function starter(context: TestContext, { entry, port: name, config }: (typeof placements)[keyof typeof placements]): Start {
  return async (routes, upstreams) => {
    const process = new TestProcess(entry, {
      ...config,
      admin: listen,
      routes: routes.map((route) => ({ ...route, match: { host: 'inventory', ...('match' in route ? (route.match as object) : {}) } })),
      upstreams: Object.fromEntries(Object.entries(upstreams).map(([upstream, value]) => {
        const [port, settings] = typeof value === 'number' ? [value, {}] : value;
        return [upstream, { endpoints: [`127.0.0.1:${port}`], ...settings }];
      })),
    });
    context.after(async () => assert.equal((await process.stop()).code, 0));
    const ready = await process.logged('ready');
    const port = portIn(ready, name);
    const metrics = async (): Promise<string> => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text();
    return {
      process,
      port,
      metrics,
      async counted(metric, value) {
        while (!(await metrics()).split('\n').includes(`${metric} ${value}`)) await new Promise((resolve) => setImmediate(resolve));
      },
      send: ({ path = '/', method = 'GET', headers = {}, body } = {}) =>
        new Promise((resolve, reject) => {
          const request = httpRequest({ host: '127.0.0.1', port, path, method, headers: { host: 'inventory', ...headers } }, (response) => {
            readBody(response).then((text) => resolve({ status: response.statusCode!, headers: response.headers, body: text }), reject);
          });
          request.on('error', reject);
          // In pieces it goes out chunked, otherwise whole, with its length.
          if (!Array.isArray(body)) {
            request.end(body);
            return;
          }
          for (const piece of body) request.write(piece);
          request.end();
        }),
    };
  };
}

/** An origin that says its name and what it was asked. */
export async function echo(context: TestContext, name: string): Promise<Origin & { readonly seen: Answer[] }> {
  const seen: Answer[] = [];
  const origin = await httpOrigin(async (request, response) => {
    const body = await readBody(request);
    seen.push({ status: 0, headers: request.headers, body: `${request.method} ${request.url} ${body}` });
    response.setHeader('x-powered-by', name);
    response.end(`${name} ${request.url}`);
  });
  context.after(() => origin.close());
  return { ...origin, seen };
}

