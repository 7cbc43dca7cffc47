import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { freePorts } from '../../scenarios/lab/free-port.js';

const isInstalled = spawnSync('etcd', ['--version']).status === 0;

/** For tests that need a real etcd. */
export const withEtcd = { skip: isInstalled ? false : 'etcd is not installed' };

interface TestEtcdOptions {
  readonly members?: number;
  readonly args?: readonly string[];
  readonly scheme?: 'http' | 'https';
  /** What etcdctl needs to be let in. */
  readonly ctl?: readonly string[];
}

/** Starts a cluster that ends with the test. */
export async function startEtcd(context: TestContext, options: TestEtcdOptions = {}): Promise<TestEtcd> {
  const etcd = await TestEtcd.start(options);
  context.after(() => etcd.remove());
  return etcd;
}

/** A cluster of real etcd processes in a folder of its own. */
export class TestEtcd {
  readonly directory = mkdtempSync(join(tmpdir(), 'etcd-test-'));
  readonly #children: (ChildProcess | undefined)[] = [];

  private constructor(
    private readonly clientPorts: readonly number[],
    private readonly peerPorts: readonly number[],
    private readonly args: readonly string[],
    private readonly scheme: 'http' | 'https',
    /** What etcdctl needs to be let in; may be exchanged. */
    public access: readonly string[],
  ) {}

  static async start({ members = 1, args = [], scheme = 'http', ctl = [] }: TestEtcdOptions = {}): Promise<TestEtcd> {
    const ports = await freePorts(2 * members);
    const etcd = new TestEtcd(ports.slice(0, members), ports.slice(members), args, scheme, ctl);
    // What the runner ends because it takes too long leaves nothing behind.
    process.once('SIGTERM', etcd.#abandon);
    process.once('exit', etcd.#abandon);
    for (let member = 0; member < members; member++) etcd.run(member);
    await etcd.ready();
    return etcd;
  }

  get endpoints(): string[] {
    return this.clientPorts.map((port) => `${this.scheme}://127.0.0.1:${port}`);
  }

  /** Starts a member, anew or again with what it had. */
  run(member = 0): void {
    const [client, peer] = [this.endpoints[member]!, `http://127.0.0.1:${this.peerPorts[member]}`];
    const cluster = this.peerPorts.map((port, index) => `m${index}=http://127.0.0.1:${port}`).join(',');
    this.#children[member] = spawn(
      'etcd',
      ['--name', `m${member}`, '--data-dir', this.dataOf(member), '--listen-client-urls', client, '--advertise-client-urls', client, '--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', cluster, '--logger', 'zap', '--log-level', 'error', ...this.args],
      { stdio: 'ignore' },
    );
  }

  dataOf(member: number): string {
    return join(this.directory, `m${member}`);
  }

  /** Puts a backup in the place of what the only member, which is not running, has. */
  async restore(snapshot: string): Promise<void> {
    rmSync(this.dataOf(0), { recursive: true, force: true });
    const peer = `http://127.0.0.1:${this.peerPorts[0]}`;
    await this.ctl(['snapshot', 'restore', snapshot, '--data-dir', this.dataOf(0), '--name', 'm0', '--initial-cluster', `m0=${peer}`, '--initial-advertise-peer-urls', peer]);
  }

  /** Resolves when the cluster takes writes. */
  async ready(endpoints: readonly string[] = this.endpoints): Promise<void> {
    for (const endpoint of endpoints) {
      for (;;) {
        const answer = await this.ctl(['--endpoints', endpoint, 'endpoint', 'health', '--command-timeout', '2s']).catch(() => undefined);
        if (answer !== undefined) break;
        if (this.#children.every((child) => child?.exitCode !== null)) throw new Error('etcd has ended');
      }
    }
  }

  /** Runs etcdctl on the whole cluster. Rejects when it fails. */
  async ctl(args: readonly string[]): Promise<string> {
    const child = spawn('etcdctl', [...this.access, ...(args.includes('--endpoints') ? args : ['--endpoints', this.endpoints.join(','), ...args])], { env: { ...process.env, ETCDCTL_API: '3' }, stdio: ['ignore', 'pipe', 'pipe'] });
    let [out, errors] = ['', ''];
    child.stdout.on('data', (data: Buffer) => (out += data.toString()));
    child.stderr.on('data', (data: Buffer) => (errors += data.toString()));
    const [code] = (await once(child, 'close')) as [number];
    if (code !== 0) throw new Error(errors);
    return out;
  }

  async kill(member = 0, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#children[member]!;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exit = once(child, 'exit');
    child.kill(signal);
    await exit;
  }

  /** Stops a member's time, or lets it go on. */
  freeze(member: number, isFrozen: boolean): void {
    this.#children[member]!.kill(isFrozen ? 'SIGSTOP' : 'SIGCONT');
  }

  readonly #abandon = (signal?: unknown): void => {
    for (const child of this.#children) child?.kill('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
    if (signal === 'SIGTERM') process.exit(143);
  };

  async remove(): Promise<void> {
    process.off('SIGTERM', this.#abandon);
    process.off('exit', this.#abandon);
    await Promise.all(this.#children.map((_, member) => this.kill(member)));
    rmSync(this.directory, { recursive: true, force: true });
  }
}
