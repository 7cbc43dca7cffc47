import { stringify } from 'yaml';
import { identityOf, interceptedSidecar, restartDelayMs, tokenHolders, units, type Addresses, type Unit } from '../lab/declaration.js';
import { redisArguments } from '../lab/outside.js';
import { interceptedConfig, interceptedServices } from './interception.js';

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

/** Where the lab leaves the tokens with which proxies join the mesh. */
export const joinTokenFile = (unit: string): string => `/join-tokens/${unit}`;

/** Where the lab leaves a file for a process that is to be killed; no container can reach into another. */
export const killFolder = '/kill';

const image = 'ambassador-or-sidecar';
const note = '# Written from scenarios/lab/declaration.ts by `npm run lab -- compose`; change it there.\n';

/** The files of the compose lab by path, relative to the repository. */
export function composeFiles(): Map<string, string> {
  const files = new Map<string, string>();
  // docker-compose 1.29 reads YAML 1.1, to which a plain `no` is no string.
  files.set('docker-compose.yml', note + stringify(composeDocument(), { version: '1.1', lineWidth: 0, aliasDuplicateObjects: false }));
  for (const unit of units) {
    if (unit.config !== undefined) files.set(`scenarios/compose/config/${unit.id}.yaml`, note + stringify(unit.config(addressesOf(unit)), { lineWidth: 0, aliasDuplicateObjects: false }));
  }
  files.set('scenarios/compose/config/intercepted-sidecar.yaml', note + stringify(interceptedConfig(addressesOf(find('users-sidecar'))), { lineWidth: 0, aliasDuplicateObjects: false }));
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
    discovery: (alias, port) => ({ dns: { name: alias, port: portOf(units.find((other) => other.alias === alias)!, port), family: 'ipv4', refreshMin: '1s' } }),
    file: (name) => `/tmp/${name}`,
    joinToken: joinTokenFile,
    tokens: { of: labToken, file: tokenFile },
  };
}

function composeDocument(): object {
  const services: Record<string, object> = {};
  for (const unit of units) services[unit.id] = serviceOf(unit);
  Object.assign(services, interceptedServices({ hardened, node: imageOf('node'), healthcheck }));
  services['join-tokens'] = {
    ...hardened,
    ...imageOf('node'),
    // Again and again: a proxy that starts anew has nothing but its token.
    command: ['node', 'dist/scenarios/main.js', 'join-tokens', '--every', '30s'],
    environment: { LAB_MODE: 'compose' },
    volumes: ['join-tokens:/join-tokens'],
    depends_on: { 'control-plane': { condition: 'service_healthy' } },
    // The last one that is written.
    healthcheck: { test: ['CMD', 'test', '-e', joinTokenFile(interceptedSidecar.id)], interval: '2s', timeout: '5s', retries: 30 },
  };
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
    volumes: ['reports:/reports', `kill:${killFolder}`],
    depends_on: Object.fromEntries([...units.map(({ id }) => id), 'report'].map((id) => [id, { condition: 'service_healthy' }])),
  };
  return { services, volumes: { reports: {}, kill: {}, 'join-tokens': {} } };
}

/** No root, no capability, nothing to write but memory. */
const hardened = { init: true, read_only: true, tmpfs: ['/tmp'], cap_drop: ['ALL'], security_opt: ['no-new-privileges:true'] };

/** Each service builds its image, the same for all after the first: compose then has it whichever is started. */
function imageOf(target: 'node' | 'inventory' | 'redis'): object {
  return { build: { context: '.', target }, image: `${image}-${target}:local` };
}

function serviceOf(unit: Unit): object {
  const targets = { node: 'node', python: 'inventory', redis: 'redis' } as const;
  return {
    ...hardened,
    ...imageOf(targets[unit.program.kind]),
    command: command(unit),
    ...(Object.keys(environment(unit)).length > 0 && { environment: environment(unit) }),
    ...(unit.beside === undefined ? {} : { network_mode: `service:${unit.beside}` }),
    ...(unit.alias !== undefined && { networks: { default: { aliases: [unit.alias] } } }),
    ...(unit.id === 'gateway' && { ports: [`127.0.0.1:8080:${portOf(unit, 'http')}`] }),
    ...(needsOf(unit).length > 0 && { depends_on: Object.fromEntries(needsOf(unit).map((id) => [id, { condition: 'service_healthy' }])) }),
    ...(isKilledByFile(unit) && { volumes: [`kill:${killFolder}`] }),
    ...(identityOf(unit) !== undefined && { volumes: ['join-tokens:/join-tokens:ro'] }),
    healthcheck: healthcheck(portOf(unit, unit.ready.port), unit.ready.path),
  };
}

/** Proxies have nothing to join with before there are tokens. */
function needsOf(unit: Unit): readonly string[] {
  return identityOf(unit) === undefined ? unit.needs : [...unit.needs, 'join-tokens'];
}

function command(unit: Unit): string[] {
  const own = ownCommand(unit);
  // The container lives on while its application is down, and so does the network namespace that the sidecar is in.
  return unit.mayCrash === true ? ['/app/respawn.sh', ...own] : own;
}

function ownCommand(unit: Unit): string[] {
  const { program, id, config } = unit;
  switch (program.kind) {
    case 'python':
      return ['python', '/app/inventory.py'];
    case 'redis':
      return ['redis-server', ...redisArguments(program, addressesOf(unit), '/tmp')];
    case 'node':
      return ['node', `dist/${program.entry}`, ...(program.args ?? []), ...(config ? ['--config', `/app/config/${id}.yaml`] : [])];
  }
}

function environment(unit: Unit): Record<string, string> {
  return { ...unit.environment(addressesOf(unit)), ...(unit.mayCrash === true && { RESTART_DELAY: String(restartDelayMs / 1_000) }), ...(isKilledByFile(unit) && { KILL_FILE: `${killFolder}/${unit.id}` }) };
}

/** Applications crash by themselves when they are told to. */
function isKilledByFile({ mayCrash, role }: Unit): boolean {
  return mayCrash === true && role !== 'application';
}

/** Bash alone, since a process of Node.js for each check would take more CPU than the lab. */
function healthcheck(port: number, path?: string): object {
  return { test: ['CMD', '/app/healthcheck.sh', String(port), ...(path === undefined ? [] : [path])], interval: '10s', timeout: '5s', retries: 12 };
}
