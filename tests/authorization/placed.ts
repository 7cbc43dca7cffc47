import type { TestContext } from 'node:test';
import { compile } from '../../control-plane/compile/compile.js';
import { Model } from '../../control-plane/model/model.js';
import type { Placement, Policy, Resource } from '../../control-plane/model/resources.js';
import { portIn, TestProcess } from '../support/process.js';
import { exchangeRaw } from '../support/raw-client.js';

const listen = { host: '127.0.0.1', port: 0 };

/** A proxy that runs, and the configuration that it was started with. */
export interface Running {
  readonly process: TestProcess;
  readonly port: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly metrics: () => Promise<string>;
}

export interface Answer {
  readonly status: number;
  readonly head: string;
  readonly body: string;
}

/** client -> gateway -> sidecar -> application, as the control plane configures them. */
export interface Placed {
  readonly gateway: Running;
  readonly sidecar: Running;
  /** `target` goes out as it is written. */
  readonly send: (options?: { readonly method?: string; readonly target?: string; readonly fields?: Readonly<Record<string, string | undefined>> }) => Promise<Answer>;
}

/** What each proxy is told when a policy for the service is placed there; nothing else differs. */
export function documents(placement: Placement, spec: Policy['spec'], sidecarPort = 1): { gateway: Record<string, unknown>; inbound: Record<string, unknown> } {
  const resources: Resource[] = [{ kind: 'Service', name: 'inventory' }, { kind: 'Route', name: 'stock', service: 'inventory' }, { kind: 'Policy', name: 'guard', placement, target: { services: ['inventory'] }, spec }];
  const model = Model.of(resources);
  const endpoints = (): string[] => [`127.0.0.1:${sidecarPort}`];
  const { inbound } = compile(model, endpoints, { node: 's', kind: 'sidecar', service: 'inventory' }) as { inbound: Record<string, unknown> };
  return { gateway: compile(model, endpoints, { node: 'g', kind: 'gateway' }) as Record<string, unknown>, inbound };
}

export async function place(context: TestContext, placement: Placement, spec: Policy['spec'], app: number): Promise<Placed> {
  const sidecar = await run(context, 'sidecar', 'inbound', { service: 'inventory', inbound: { listen, app: `127.0.0.1:${app}`, ...documents(placement, spec).inbound } });
  const gateway = await run(context, 'gateway', 'listen', { listen, ...documents(placement, spec, sidecar.port).gateway });
  return { gateway, sidecar, send: (options) => send(gateway.port, options) };
}

export async function run(context: TestContext, kind: 'gateway' | 'sidecar', listener: string, config: Readonly<Record<string, unknown>>): Promise<Running> {
  const whole = { admin: listen, ...config };
  const process = new TestProcess(`${kind}/main.js`, whole);
  context.after(async () => process.child.exitCode === null && (await process.stop()));
  const ready = await process.logged('ready');
  return { process, config: whole, port: portIn(ready, listener), metrics: async () => (await fetch(`http://127.0.0.1:${portIn(ready, 'admin')}/metrics`)).text() };
}

export async function send(port: number, { method = 'GET', target = '/', fields = {} }: Parameters<Placed['send']>[0] = {}): Promise<Answer> {
  const lines = Object.entries(fields).flatMap(([name, value]) => (value === undefined ? [] : [`${name}: ${value}\r\n`])).join('');
  const text = await exchangeRaw(port, `${method} ${target} HTTP/1.1\r\nHost: inventory\r\nConnection: close\r\n${lines}\r\n`);
  const end = text.indexOf('\r\n\r\n');
  return { status: Number(text.slice(9, 12)), head: text.slice(0, end), body: text.slice(end + 4) };
}
