import { request } from 'node:http';
import type { TestContext } from 'node:test';
import { TestMesh } from './mesh.js';
import { until } from './until.js';
import { httpOrigin } from './origin.js';
import { portIn, type TestProcess } from './process.js';

const listen = { host: '127.0.0.1', port: 0 };

interface EnrolledPairOptions {
  /** Answers in the place of the application that is called. */
  readonly app: (path: string, headers: Readonly<Record<string, string | string[] | undefined>>) => string;
  /** What policies say of the inventory, by their names; all are placed at the sidecar. */
  readonly policies: Readonly<Record<string, object>>;
  readonly ca?: object;
  readonly environments?: { readonly caller?: NodeJS.ProcessEnv; readonly callee?: NodeJS.ProcessEnv };
}

interface EnrolledPair {
  readonly mesh: TestMesh;
  readonly callee: TestProcess;
  readonly caller: TestProcess;
  /** A call of the application beside the caller. */
  readonly call: (method: string, path: string, headers?: Record<string, string>) => Promise<{ readonly status: number; readonly body: string }>;
}

/** A control plane, and two services with a sidecar each, `orders` and `inventory`: identities are enrolled, addresses registered, policies sent. */
export async function startEnrolledPair(context: TestContext, { app, policies, ca = {}, environments = {} }: EnrolledPairOptions): Promise<EnrolledPair> {
  const mesh = new TestMesh(ca, {
    resources: [
      { kind: 'Service', name: 'orders' },
      { kind: 'Service', name: 'inventory' },
      ...Object.entries(policies).map(([name, spec]) => ({ kind: 'Policy', name, placement: 'sidecar', target: { services: ['inventory'] }, spec })),
    ],
  });
  context.after(() => mesh.close());
  await mesh.start();
  const origin = await httpOrigin((incoming, response) => response.end(app(incoming.url!, incoming.headers)));
  context.after(() => origin.close());
  const sidecar = async (service: string, more: object, controlPlane: object, environment: NodeJS.ProcessEnv = {}): Promise<TestProcess> =>
    mesh.sidecar(service, { directory: mesh.newDirectory(), joinTokenFile: mesh.file(await mesh.joinToken(service)) }, more, { leaseTtl: '3s', ...controlPlane }, environment);
  // Where it is reached is told before it listens: a port that was free a moment ago.
  const reserved = await httpOrigin(() => {});
  await reserved.close();
  const callee = await sidecar('inventory', { inbound: { listen: { ...listen, port: reserved.port }, app: `127.0.0.1:${origin.port}` } }, { advertise: `127.0.0.1:${reserved.port}` }, environments.callee);
  const caller = await sidecar('orders', { inbound: undefined, outbound: { listen } }, {}, environments.caller);
  await callee.logged('ready');
  const port = portIn(await caller.logged('ready'), 'outbound');
  const call: EnrolledPair['call'] = (method, path, headers = {}) =>
    new Promise((resolve, reject) => {
      const sent = request({ host: '127.0.0.1', port, method, path: `http://inventory${path}`, headers: { host: 'inventory', ...headers } }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text)).on('end', () => resolve({ status: response.statusCode!, body }));
      });
      sent.on('error', reject).end();
    });
  await until(async () => (await call('GET', '/stock/warm-up')).status === 200);
  return { mesh, callee, caller, call };
}
