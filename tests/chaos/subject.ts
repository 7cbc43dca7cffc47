import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { request } from 'node:http';
import type { UpstreamDescription } from '../../shared/upstream/upstream-set.js';
import { portIn, TestProcess } from '../support/process.js';

const listen = { host: '127.0.0.1', port: 0 };
const pageBytes = 4_096;

/** A proxy under test, as the operating system and its own admin server see it. */
export class Subject {
  private constructor(
    readonly name: string,
    readonly process: TestProcess,
    readonly port: number,
    private readonly adminPort: number,
  ) {}

  static async start(name: string, kind: 'gateway' | 'sidecar', upstream: object): Promise<Subject> {
    const process =
      kind === 'gateway'
        ? new TestProcess('gateway/main.js', { listen, admin: listen, routes: [{ match: { path: '/' }, upstream: 'shop' }], upstreams: { shop: upstream } })
        : new TestProcess('sidecar/main.js', { service: 'orders', outbound: { listen }, admin: listen, upstreams: { shop: upstream } });
    const ready = await process.logged('ready');
    return new Subject(name, process, portIn(ready, kind === 'gateway' ? 'listen' : 'outbound'), portIn(ready, 'admin'));
  }

  /** Open files of the process; undefined where the system does not tell. */
  handles(): number | undefined {
    const folder = `/proc/${this.process.child.pid}/fd`;
    return existsSync(folder) ? readdirSync(folder).length : undefined;
  }

  residentBytes(): number | undefined {
    const file = `/proc/${this.process.child.pid}/statm`;
    return existsSync(file) ? Number(readFileSync(file, 'utf8').split(' ')[1]) * pageBytes : undefined;
  }

  /** Connections, requests and waiters that the upstream has left, as the proxy counts them. */
  async leftOver(): Promise<number> {
    const [shop] = JSON.parse(await this.#admin('/upstreams')) as UpstreamDescription[];
    return shop!.endpoints.reduce((sum, { connections, inFlight, pending }) => sum + connections + inFlight + pending, 0);
  }

  async metric(name: string): Promise<number> {
    const line = (await this.#admin('/metrics')).split('\n').find((text) => text.startsWith(name));
    return Number(line?.slice(line.lastIndexOf(' ')) ?? 0);
  }

  /** What the access log says of a request. */
  logLine(path: string): string {
    return this.process.stdout.split('\n').find((line) => line.includes(`"${path}"`)) ?? '(not in the access log)';
  }

  /** By a connection of its own, which is closed: a kept one would be one of the handles that are counted. */
  #admin(path: string): Promise<string> {
    return new Promise((resolve, reject) => {
      request({ host: '127.0.0.1', port: this.adminPort, path, agent: false }, (response) => {
        let text = '';
        response.on('data', (data: Buffer) => (text += data.toString())).once('end', () => resolve(text));
      })
        .once('error', reject)
        .end();
    });
  }
}
