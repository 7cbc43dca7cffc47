import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { restartDelayMs, units, type Addresses, type Unit } from './declaration.js';
import { freePort } from './free-port.js';
import { untilReady, type Lab } from './lab.js';
import { redisArguments } from './outside.js';
import { writeJoinTokens } from './join-tokens.js';
import { ManagedProcess } from './processes.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const dist = join(root, 'dist');

interface EmbeddedOptions {
  readonly onProgress?: (ready: number, all: number, unit: string) => void;
  /** Keeps logs and configurations after the end, and says where they are. */
  readonly keepFiles?: boolean;
  /** Ports that are taken where they are free, by `UNIT/PORT`. */
  readonly preferredPorts?: Readonly<Record<string, number>>;
}

/** Starts the lab as child processes on free ports of loopback: no Docker, no root. */
export async function startEmbedded({ onProgress, keepFiles = false, preferredPorts = {} }: EmbeddedOptions = {}): Promise<Lab & { readonly directory: string }> {
  const directory = mkdtempSync(join(tmpdir(), 'shop-lab-'));
  const ports = await portsOf(units.flatMap((unit) => unit.ports.map((port) => `${unit.id}/${port.name}`)), preferredPorts);
  const installed = { python: findPython(), redis: findRedis() };
  writeDiscoveryFiles(directory, ports);
  const processes = new Map<string, ManagedProcess>();
  const killAll = (): void => {
    for (const child of processes.values()) child.kill();
    if (!keepFiles) rmSync(directory, { recursive: true, force: true });
  };
  // Whatever ends this process but a signal that it does not listen to, nothing of the lab survives it.
  process.once('exit', killAll);

  const lab = {
    mode: 'embedded' as const,
    units,
    directory,
    adminToken: undefined,
    notes: notesOn(installed),
    url: (unit: string, port: string) => `http://127.0.0.1:${ports.get(`${unit}/${port}`)!}`,
    kill: async (unit: string) => processes.get(unit)!.crash(),
    async close() {
      await Promise.all([...processes.values()].map((child) => child.stop()));
      process.off('exit', killAll);
      killAll();
    },
  };
  try {
    for (const unit of units) processes.set(unit.id, start(unit, ports, directory, installed));
    let ready = 0;
    const onReady = async ({ id }: Unit): Promise<void> => {
      onProgress?.(++ready, units.length, id);
      // Nobody joins without a token that the control plane gave.
      if (id === 'control-plane') await writeJoinTokens({ units, controlPlane: lab.url(id, 'api'), token: undefined, fileOf: (unit) => joinTokenFile(directory, unit) });
    };
    await untilReady(lab, 120_000, onReady, (unit) => processes.get(unit.id));
    return lab;
  } catch (error) {
    await lab.close();
    throw error;
  }
}

function start(unit: Unit, ports: ReadonlyMap<string, number>, directory: string, installed: Installed): ManagedProcess {
  const address = (other: string, port: string): string => `127.0.0.1:${ports.get(`${other}/${port}`)!}`;
  const at: Addresses = {
    of: address,
    public: address,
    listen: (port) => ({ host: '127.0.0.1', port: ports.get(`${unit.id}/${port}`)! }),
    discovery: (alias) => ({ file: discoveryFile(directory, alias) }),
    file: (name) => join(directory, name),
    joinToken: (id) => joinTokenFile(directory, id),
    tokens: undefined,
  };
  const { command, args, environment } = commandFor(unit, at, installed);
  if (unit.config !== undefined) {
    const file = join(directory, `${unit.id}.config.json`);
    writeFileSync(file, JSON.stringify(unit.config(at), null, 2));
    args.push('--config', file);
  }
  return new ManagedProcess({ id: unit.id, command, args, environment: { ...unit.environment(at), ...environment }, logFile: join(directory, `${unit.id}.log`), restartDelayMs: unit.mayCrash === true ? restartDelayMs : undefined });
}

function joinTokenFile(directory: string, unit: string): string {
  return join(directory, `${unit}.join-token`);
}

/** What the machine has that the lab would use. */
interface Installed {
  readonly python: string | undefined;
  readonly redis: string | undefined;
}

function notesOn({ python, redis }: Installed): string[] {
  return [
    ...(python === undefined ? ['There is no python3 on this machine: the inventory runs as its Node.js twin.'] : []),
    ...(redis === undefined ? ['There is no redis-server on this machine: the store of sessions runs as its Node.js twin.'] : []),
    'Interception needs network namespaces, and so root: it runs in containers alone (profile interception). The provider is found in a watched file here, in containers in the DNS.',
  ];
}

function commandFor(unit: Unit, at: Addresses, { python, redis }: Installed): { command: string; args: string[]; environment?: Record<string, string> } {
  const { program } = unit;
  if (program.kind === 'python' && python !== undefined) return { command: python, args: [join(root, program.file)] };
  if (program.kind === 'redis') {
    const folder = at.file(unit.id);
    mkdirSync(folder);
    if (redis !== undefined) return { command: redis, args: redisArguments(program, at, folder) };
    const { host, port } = at.listen('redis');
    const environment = { HOST: host, PORT: String(port), FILE: join(folder, 'values'), ...(program.primary !== undefined && { REPLICA_OF: at.of(program.primary, 'redis') }) };
    return { command: process.execPath, args: [join(dist, program.twin.entry), ...program.twin.args], environment };
  }
  const { entry, args = [] } = program.kind === 'python' ? program.twin : program;
  return { command: process.execPath, args: [join(dist, entry), ...args] };
}

/** What `redis-server` must be to be used: version 6 brought what the lab asks of it. */
function findRedis(): string | undefined {
  const found = spawnSync('redis-server', ['--version'], { encoding: 'utf8', timeout: 10_000, env: { ...process.env, LC_ALL: 'C' } });
  const version = found.status === 0 ? /v=(\d+)\./.exec(found.stdout)?.[1] : undefined;
  return Number(version ?? 0) >= 6 ? 'redis-server' : undefined;
}

function discoveryFile(directory: string, alias: string): string {
  return join(directory, `${alias}.endpoints.json`);
}

/** Lists the units of each alias, for proxies that watch the file. */
function writeDiscoveryFiles(directory: string, ports: ReadonlyMap<string, number>): void {
  for (const alias of new Set(units.flatMap((unit) => (unit.role === 'provider' && unit.alias !== undefined ? [unit.alias] : [])))) {
    const addresses = units.filter((unit) => unit.alias === alias).map(({ id }) => `127.0.0.1:${ports.get(`${id}/app`)!}`);
    writeFileSync(discoveryFile(directory, alias), JSON.stringify(addresses));
  }
}

function findPython(): string | undefined {
  const found = spawnSync('python3', ['-c', 'import sys; print(sys.executable if sys.version_info >= (3, 7) else "")'], { encoding: 'utf8', timeout: 10_000 });
  const path = found.status === 0 ? found.stdout.trim() : '';
  return path === '' ? undefined : path;
}

/** A free port for each name: the preferred one where that is free. */
async function portsOf(names: readonly string[], preferred: Readonly<Record<string, number>>): Promise<Map<string, number>> {
  const ports = new Map<string, number>();
  for (const name of names) ports.set(name, await freePort(preferred[name]));
  return ports;
}
