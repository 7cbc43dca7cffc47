import { stringify } from 'yaml';
import { restartDelayMs, tokenHolders, units, type Addresses, type Unit } from '../lab/declaration.js';

/*
 * Writes the lab's declaration down as docker-compose.yml and the configuration files of its processes. Both are
 * committed, so that they can be read and used without building anything; a test fails when they drift.
 */

/** Token of one of those who talk to the lab's own control plane, which no port is published of. They are no secrets. */
export function labToken(holder: string): string {
  return `lab-only-token-of-${holder}`;
}

/** Where it is in a container. */
function tokenFile(holder: string): string {
  return `/app/config/tokens/${holder}.token`;
}

const image = 'ambassador-or-sidecar';
const note = '# Written from scenarios/lab/declaration.ts by `npm run lab -- compose`; change it there.\n';

/** The files of the compose lab by path, relative to the repository. */
export function composeFiles(): Map<string, string> {
  const files = new Map<string, string>();
  files.set('docker-compose.yml', note + stringify(composeDocument(), { lineWidth: 0, aliasDuplicateObjects: false }));
  for (const unit of units) {
    if (unit.config !== undefined) files.set(`scenarios/compose/config/${unit.id}.yaml`, note + stringify(unit.config(addressesOf(unit)), { lineWidth: 0, aliasDuplicateObjects: false }));
  }
  for (const holder of tokenHolders) files.set(`scenarios/compose/config/tokens/${holder}.token`, `${labToken(holder)}\n`);
  return files;
}

/** The container whose network namespace a unit is in. */
export function hostOf(unit: Unit): string {
  return unit.beside ?? unit.id;
}

export function portOf(unit: Unit, name: string): number {
  return unit.ports.find((port) => port.name === name)!.number;
}

function find(id: string): Unit {
  return units.find((unit) => unit.id === id)!;
}

function addressesOf(unit: Unit): Addresses {
  return {
    of: (id, port) => `${hostOf(find(id)) === hostOf(unit) ? '127.0.0.1' : hostOf(find(id))}:${portOf(find(id), port)}`,
    public: (id, port) => `${hostOf(find(id))}:${portOf(find(id), port)}`,
    listen: (name) => ({ host: unit.ports.find((port) => port.name === name)!.private === true ? '127.0.0.1' : '0.0.0.0', port: portOf(unit, name) }),
    file: (name) => `/tmp/${name}`,
    tokens: { of: labToken, file: tokenFile },
  };
}

function composeDocument(): object {
  const services: Record<string, object> = {};
  for (const unit of units) services[unit.id] = serviceOf(unit);
  services['report'] = {
    ...hardened,
    ...imageOf('node'),
    command: ['node', 'dist/scenarios/main.js', 'serve', '--host', '0.0.0.0', '--port', '8088', '--report', '/reports'],
    ports: ['127.0.0.1:8088:8088'],
    volumes: ['reports:/reports'],
    healthcheck: healthcheck(8088, '/healthz'),
  };
  services['lab'] = {
    ...hardened,
    ...imageOf('node'),
    entrypoint: ['node', 'dist/scenarios/main.js'],
    command: ['run'],
    environment: { LAB_MODE: 'compose', CONTROL_PLANE_URL: `http://control-plane:${portOf(find('control-plane'), 'api')}`, CONTROL_PLANE_TOKEN_FILE: tokenFile('lab') },
    volumes: ['reports:/reports'],
    depends_on: Object.fromEntries([...units.map(({ id }) => id), 'report'].map((id) => [id, { condition: 'service_healthy' }])),
  };
  return { services, volumes: { reports: {} } };
}

/** No root, no capability, nothing to write but memory. */
const hardened = { init: true, read_only: true, tmpfs: ['/tmp'], cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] };

/** Each service builds its image, the same for all after the first: compose then has it whichever is started. */
function imageOf(target: 'node' | 'inventory'): object {
  return { build: { context: '.', target }, image: `${image}-${target}:local` };
}

function serviceOf(unit: Unit): object {
  const isPython = unit.program.kind === 'python';
  return {
    ...hardened,
    ...imageOf(isPython ? 'inventory' : 'node'),
    command: command(unit),
    ...(Object.keys(unit.environment(addressesOf(unit))).length > 0 && { environment: environment(unit) }),
    ...(unit.beside === undefined ? {} : { network_mode: `service:${unit.beside}` }),
    ...(unit.id === 'gateway' && { ports: [`127.0.0.1:8080:${portOf(unit, 'http')}`] }),
    ...(unit.needs.length > 0 && { depends_on: Object.fromEntries(unit.needs.map((id) => [id, { condition: 'service_healthy' }])) }),
    healthcheck: healthcheck(portOf(unit, unit.ready.port), unit.ready.path),
  };
}

function command({ program, id, config, mayCrash }: Unit): string[] {
  const own = program.kind === 'python' ? ['python', '/app/inventory.py'] : ['node', `dist/${program.entry}`, ...(program.args ?? []), ...(config ? ['--config', `/app/config/${id}.yaml`] : [])];
  // The container lives on while its application is down, and so does the network namespace that the sidecar is in.
  return mayCrash === true ? ['/app/respawn.sh', ...own] : own;
}

function environment(unit: Unit): Record<string, string> {
  return { ...unit.environment(addressesOf(unit)), ...(unit.mayCrash === true && { RESTART_DELAY: String(restartDelayMs / 1_000) }) };
}

/** Bash alone, since a process of Node.js for each check would take more CPU than the lab. */
function healthcheck(port: number, path: string): object {
  return { test: ['CMD', '/app/healthcheck.sh', String(port), path], interval: '10s', timeout: '5s', retries: 12 };
}
