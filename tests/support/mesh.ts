import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { portIn, TestProcess } from './process.js';

const listen = { host: '127.0.0.1', port: 0 };

/** A control plane with a certificate authority, as a process, and what its tests need of it. */
export class TestMesh {
  readonly directory = mkdtempSync(join(tmpdir(), 'mesh-'));
  readonly dataDir = join(this.directory, 'control-plane');
  #process: TestProcess | undefined;
  #port = 0;
  #names = 0;
  readonly processes = new Set<TestProcess>();

  constructor(
    private readonly ca: object = {},
    private readonly config: object = {},
  ) {}

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get controlPlane(): TestProcess {
    return this.#process!;
  }

  /** Starts it, at the port it had before; `ca`: settings beside those of the mesh. */
  async start(ca: object = {}): Promise<void> {
    this.#process = new TestProcess('control-plane/main.js', { listen: { ...listen, port: this.#port }, dataDir: this.dataDir, ca: { trustDomain: 'shop.internal', ...this.ca, ...ca }, ...this.config });
    this.processes.add(this.#process);
    this.#port = portIn(await this.#process.logged('ready'), 'listen');
  }

  async kill(): Promise<void> {
    this.controlPlane.child.kill('SIGKILL');
    await this.controlPlane.exited;
  }

  async ask(method: string, path: string, body?: object, headers: Record<string, string> = {}): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> {
    const response = await fetch(`${this.url}${path}`, { method, headers: { ...(body && { 'content-type': 'application/json' }), ...headers }, ...(body && { body: JSON.stringify(body) }) });
    const text = await response.text();
    return { status: response.status, headers: response.headers, body: text.startsWith('{') ? (JSON.parse(text) as Record<string, unknown>) : { text } };
  }

  async joinToken(service: string, more: object = {}): Promise<string> {
    const { status, body } = await this.ask('POST', '/v1/join-tokens', { service, ...more });
    if (status !== 201) throw new Error(`${status} ${JSON.stringify(body)}`);
    return body['token'] as string;
  }

  /** A file with this text, in the mesh's own directory. */
  file(text: string): string {
    const file = join(this.directory, `file-${++this.#names}`);
    writeFileSync(file, text);
    return file;
  }

  /** A directory that is not there yet. */
  newDirectory(): string {
    return join(this.directory, `identity-${++this.#names}`);
  }

  /** A sidecar with an identity. `log`: the line to wait for. */
  sidecar(service: string, identity: object, more: object = {}, controlPlane: object = {}, environment: NodeJS.ProcessEnv = {}): TestProcess {
    const config = { service, inbound: { listen, app: '127.0.0.1:1' }, admin: listen, identity, controlPlane: { url: this.url, node: `${service}-1`, ...controlPlane }, ...more };
    const process = new TestProcess('sidecar/main.js', config, [], environment);
    this.processes.add(process);
    return process;
  }

  async close(): Promise<void> {
    for (const { child } of this.processes) if (child.exitCode === null && child.signalCode === null) child.kill('SIGKILL');
    await Promise.all([...this.processes].map(({ exited }) => exited));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
