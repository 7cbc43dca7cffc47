import { Agent, request, type RequestListener } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePort } from '../../scenarios/lab/free-port.js';
import { httpOrigin } from './origin.js';
import { portIn, TestProcess } from './process.js';
import { until } from './until.js';

/*
 * A control plane, a gateway, and sidecars beside applications, as real processes: for tests of what becomes of traffic when one of them
 * goes, or is told something else.
 */

const listen = { host: '127.0.0.1', port: 0 };

interface PlaneStatus {
  readonly held: readonly string[];
  readonly proxies: readonly {
    readonly node: string;
    readonly connected: boolean;
    readonly sent?: string;
    readonly accepted?: string;
    readonly rejected?: { readonly version: string; readonly reason: string };
    readonly rejections?: readonly { readonly path: string; readonly resource?: string; readonly reason: string }[];
  }[];
}

export class Plane {
  private constructor(
    readonly process: TestProcess,
    readonly url: string,
    readonly port: number,
  ) {}

  /** On a port of before, where it comes back. */
  static async start(config: object = {}, port?: number): Promise<Plane> {
    const taken = port ?? (await freePort());
    const process = new TestProcess('control-plane/main.js', { listen: { ...listen, port: taken }, ...config });
    await process.logged('ready');
    return new Plane(process, `http://127.0.0.1:${taken}`, taken);
  }

  async api(method: string, path: string, body?: unknown): Promise<{ readonly status: number; readonly body: unknown }> {
    const response = await fetch(this.url + path, { method, ...(body !== undefined && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }) });
    const text = await response.text();
    return { status: response.status, body: text === '' ? undefined : JSON.parse(text) };
  }

  /** Throws when it is refused. */
  async apply(...resources: object[]): Promise<void> {
    const { status, body } = await this.api('POST', '/v1/apply', resources);
    if (status !== 200) throw new Error(JSON.stringify(body));
  }

  async status(): Promise<PlaneStatus> {
    return (await this.api('GET', '/v1/status')).body as PlaneStatus;
  }

  /** Resolves once everything has gone out and was answered. */
  async settled(): Promise<PlaneStatus> {
    for (;;) {
      const { status, body } = await this.api('GET', '/v1/status?settled=true&timeout=5s');
      if (status === 200) return body as PlaneStatus;
    }
  }

  async instances(): Promise<string[]> {
    const { body } = await this.api('GET', '/v1/registry');
    return (body as { instances: { instance: string }[] }).instances.map(({ instance }) => instance).sort();
  }

  async metric(name: string): Promise<number> {
    const text = await (await fetch(`${this.url}/metrics`)).text();
    return Number(text.split('\n').find((line) => line.startsWith(`${name} `))?.slice(name.length + 1));
  }

  async kill(): Promise<void> {
    this.process.child.kill('SIGKILL');
    await this.process.exited;
  }
}

export interface Running {
  readonly process: TestProcess;
  readonly port: number;
  readonly admin: string;
}

/** Starts proxies that follow the control planes at these addresses, and stops them after the test. */
export class Mesh {
  readonly directory = mkdtempSync(join(tmpdir(), 'mesh-'));

  constructor(
    private readonly context: TestContext,
    readonly urls: string | readonly string[],
  ) {
    context.after(() => rmSync(this.directory, { recursive: true, force: true }));
  }

  async gateway(config: object = {}, controlPlane: object = {}): Promise<Running> {
    return this.#ready(new TestProcess('gateway/main.js', { listen, admin: listen, controlPlane: { url: this.urls, node: 'gateway', ...controlPlane }, ...config }), 'listen');
  }

  /** A sidecar beside an application that answers with the instance's name, or as it is told. */
  async sidecar(service: string, node: string, controlPlane: object = {}, handler: RequestListener = (_request, response) => response.end(node), config: object = {}): Promise<Running> {
    const app = await httpOrigin(handler);
    this.context.after(() => app.close());
    const port = await freePort();
    return this.#ready(
      new TestProcess('sidecar/main.js', {
        service, admin: listen, drainTimeout: '5s',
        inbound: { listen: { ...listen, port }, app: `127.0.0.1:${app.port}`, health: { path: '/healthz', interval: '200ms' } },
        outbound: { listen },
        controlPlane: { url: this.urls, node, advertise: `127.0.0.1:${port}`, leaseTtl: '2s', ...controlPlane },
        ...config,
      }),
      'inbound',
    );
  }

  async #ready(process: TestProcess, name: string): Promise<Running> {
    this.context.after(() => end(process));
    const line = await process.logged('ready');
    return { process, port: portIn(line, name), admin: `http://127.0.0.1:${portIn(line, 'admin')}` };
  }
}

/** Ends a process that a test may have stopped, or ended, already. */
export async function end(process: TestProcess): Promise<void> {
  process.child.kill('SIGCONT');
  if (process.child.exitCode === null && process.child.signalCode === null) await process.stop();
}

export interface Outcome {
  readonly status: number;
  readonly body: string;
  /** When it was sent and answered (ms, monotonic). */
  readonly sentAt: number;
  readonly answeredAt: number;
}

/** Constant load on a port, until it is stopped or the test is over: `clients` requests at a time, each its next a little after the last. */
export class Load {
  readonly outcomes: Outcome[] = [];
  readonly #agent = new Agent({ keepAlive: true });
  readonly #clients: Promise<void>[];
  #isOver = false;

  constructor(context: TestContext, port: number, { clients = 4, headers = {}, path = '/' }: { readonly clients?: number; readonly headers?: Record<string, string>; readonly path?: string } = {}) {
    this.#clients = Array.from({ length: clients }, async () => {
      while (!this.#isOver) {
        this.outcomes.push(await this.#ask(port, path, headers));
        await new Promise((resolve) => setTimeout(resolve, 3));
      }
    });
    context.after(() => this.stop());
  }

  /** Resolves once so many more have been answered. */
  async more(count: number): Promise<void> {
    const before = this.outcomes.length;
    await until(() => this.outcomes.length >= before + count);
  }

  async stop(): Promise<readonly Outcome[]> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    this.#agent.destroy();
    return this.outcomes;
  }

  #ask(port: number, path: string, headers: Record<string, string>): Promise<Outcome> {
    const sentAt = performance.now();
    return new Promise((resolve) => {
      const failed = (reason: string): void => resolve({ status: 0, body: reason, sentAt, answeredAt: performance.now() });
      const outgoing = request({ host: '127.0.0.1', port, path, headers, agent: this.#agent }, (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => (body += text));
        response.on('end', () => resolve({ status: response.statusCode!, body, sentAt, answeredAt: performance.now() }));
        response.on('error', (error) => failed(error.message));
      });
      outgoing.on('error', (error) => failed(error.message));
      outgoing.end();
    });
  }
}

/** How many of each status, and of each reason without one. */
export function tally(outcomes: readonly Outcome[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { status, body } of outcomes) {
    const key = status === 200 ? '200' : `${status} ${body.slice(0, 200)}`;
    counts[key] = (counts[key] ?? 0) + 1;
  }
  return counts;
}
