import { createHash } from 'node:crypto';

/*
 * The one declaration of the lab: every process, what it listens on and what it is told. Embedded mode starts it
 * as child processes on free ports of loopback, compose as containers; only where an address points differs.
 *
 * The shop's applications run twice. `bare`: alone, reachable on the network, as applications without sidecars
 * are; the placements none and ambassador use these. `meshed`: on loopback behind a sidecar each; the placements
 * sidecar and both use these.
 *
 * All proxies run in one zone. Which instance of a service is in which zone, a claim says that is about zones.
 */

import { smallProcess } from '../../sidecar/small-process.js';
import { externalServices, externalUnits, providers, sessionStore, sessionStores } from './outside.js';

export type Program =
  | { readonly kind: 'node'; readonly entry: string; readonly args?: readonly string[] }
  | { readonly kind: 'python'; readonly file: string; /** Runs instead where there is no Python. */ readonly twin: { readonly entry: string; readonly args: readonly string[] } }
  /** Redis itself, or where there is none its twin. `primary`: the unit that it is a replica of. */
  | { readonly kind: 'redis'; readonly primary?: string; readonly twin: { readonly entry: string; readonly args: readonly string[] } };

export interface Port {
  readonly name: string;
  /** The port in a container; embedded mode takes a free one. */
  readonly number: number;
  /** Reachable from the same network namespace only. */
  readonly private?: boolean;
}

export interface Unit {
  readonly id: string;
  /** What it is to the comparison: only proxies are what a placement costs. */
  readonly role: 'application' | 'gateway' | 'sidecar' | 'control-plane' | 'issuer' | 'provider' | 'store';
  readonly program: Program;
  readonly ports: readonly Port[];
  /** The unit whose network namespace it shares. */
  readonly beside?: string;
  /** A name that it shares with others of its kind, in the DNS of compose. */
  readonly alias?: string;
  /** Where it answers 200 once it is up; without a path, where it answers PING as Redis does. */
  readonly ready: { readonly port: string; readonly path?: string };
  readonly needs: readonly string[];
  readonly environment: (at: Addresses) => Record<string, string>;
  /** The configuration document of a process of ours. */
  readonly config?: (at: Addresses) => object;
  /** Crashes on request or is killed, and is started again after a while. */
  readonly mayCrash?: boolean;
}

/** Tells a unit where others are, as seen from itself, and where it listens. */
export interface Addresses {
  /** `host:port` of a unit's port, as seen from this unit. */
  of(unit: string, port: string): string;
  /** `host:port` of a unit's port, as seen from everywhere. */
  public(unit: string, port: string): string;
  /** Host to bind for one of the unit's own ports, and its number. */
  listen(port: string): { readonly host: string; readonly port: number };
  /** Where a proxy finds the instances of a service that is no part of the mesh, by itself: in the DNS, or in a file that is watched. */
  discovery(alias: string, port: string): object;
  /** A path for a file that the unit keeps. */
  file(name: string): string;
  /** Where a proxy finds the token with which it joins the mesh. */
  joinToken(unit: string): string;
  /** Tokens of the control plane; undefined where it is on loopback. */
  readonly tokens: { readonly of: (unit: string) => string; readonly file: (unit: string) => string } | undefined;
}

export const applications = ['users', 'orders', 'inventory-1', 'inventory-2', 'inventory-3', 'inventory-v2', 'payments', 'pricing-1', 'pricing-2'] as const;
type ApplicationId = (typeof applications)[number];

/** The service that an instance belongs to. */
export function serviceOf(id: string): string {
  return id.replace(/-\d+$/, '');
}

export function instancesOf(service: string): string[] {
  return applications.filter((id) => serviceOf(id) === service);
}

/** The shop's services. The gateway leads to all of them but the second version of the inventory, which only policies lead to. */
export const services = ['users', 'orders', 'inventory', 'inventory-v2', 'payments', 'pricing'] as const;

/** Services that speak gRPC, and those that call them. */
const grpcServices: readonly string[] = ['pricing'];
const grpcCallers: readonly string[] = ['orders'];

/** The part of every name that workloads of the lab prove to each other. */
export const trustDomain = 'shop';

/** The name that a service's sidecars prove, or the gateway. */
export function labIdentity(service: string): string {
  return `spiffe://${trustDomain}/ns/default/sa/${service}`;
}

/** The service whose name a proxy proves; undefined for what is no proxy. */
export function identityOf({ id, role }: Pick<Unit, 'id' | 'role'>): string | undefined {
  if (role === 'gateway') return 'gateway';
  return role === 'sidecar' ? serviceOf(id.replace(/-sidecar$/, '')) : undefined;
}

/** Who a proxy is to the others. */
export function identityConfig(at: Addresses, unit: string): object {
  return { directory: at.file(`${unit}.identity`), joinTokenFile: at.joinToken(unit) };
}

/** Where every proxy runs. */
export const zone = 'a';

/** How long a crashed application stays down (ms). */
export const restartDelayMs = 3_000;

const appPort: Port = { name: 'app', number: 3000 };
const controlPort: Port = { name: 'control', number: 3100 };

export function demo(id: string, service: string, environment: Unit['environment'], rest: Pick<Unit, 'role' | 'needs'> & Partial<Unit>): Unit {
  const program: Program =
    service === 'inventory'
      ? { kind: 'python', file: 'scenarios/services/inventory/inventory.py', twin: { entry: 'scenarios/services/main.js', args: ['inventory'] } }
      : { kind: 'node', entry: 'scenarios/services/main.js', args: [service.replace(/-v\d+$/, '')] };
  return {
    id,
    program,
    ports: [appPort, controlPort],
    ready: { port: 'control', path: '/healthz' },
    environment: (at) => {
      const [app, control] = [at.listen('app'), at.listen('control')];
      return {
        HOST: app.host, PORT: String(app.port), CONTROL_HOST: control.host, CONTROL_PORT: String(control.port), INSTANCE: id, ...environment(at),
      };
    },
    ...rest,
  };
}

/** Where an application without a sidecar finds the others: every instance, by address. */
function direct(...names: string[]): Unit['environment'] {
  return (at) =>
    Object.fromEntries(
      names.map((name) => [
        `${name.toUpperCase()}_URLS`,
        (name === 'provider' ? providers : instancesOf(name).length === 0 ? [name] : instancesOf(name).map((id) => `${id}-bare`)).map((id) => `http://${at.of(id, 'app')}`).join(','),
      ]),
    );
}

/** Whom the instances of a service call: in the mesh, and outside it. */
export const calls: Readonly<Record<string, { readonly mesh: readonly string[]; readonly outside: readonly string[] }>> = {
  users: { mesh: ['orders', 'payments'], outside: ['issuer'] },
  orders: { mesh: ['inventory', 'payments', 'pricing'], outside: [] },
  inventory: { mesh: [], outside: [] },
  // The second version was written anew, in another language.
  'inventory-v2': { mesh: [], outside: [] },
  // The provider is no part of the mesh; a sidecar leads there all the same.
  payments: { mesh: ['provider'], outside: [] },
  pricing: { mesh: [], outside: [] },
};

function bare(id: ApplicationId): Unit {
  const { mesh, outside } = calls[serviceOf(id)]!;
  return demo(`${id}-bare`, serviceOf(id), (at) => ({ ...direct(...mesh, ...outside)(at), ...(id === 'users' && { SESSIONS_ADDRESS: at.of(sessionStores[0], 'redis') }) }), { role: 'application', needs: [], mayCrash: true });
}

function meshed(id: ApplicationId): Unit[] {
  const { mesh, outside } = calls[serviceOf(id)]!;
  const sidecarId = `${id}-sidecar`;
  const keepsSessions = id === 'users';
  const speaksGrpc = grpcServices.includes(serviceOf(id));
  const app = demo(id, serviceOf(id), (at) => ({
    ...(mesh.length > 0 && { HTTP_PROXY: `http://${at.of(sidecarId, 'outbound')}` }),
    ...direct(...outside)(at),
    ...(keepsSessions && { SESSIONS_ADDRESS: at.of(sidecarId, 'sessions') }),
  }), {
    role: 'application', needs: [], mayCrash: true, ports: [{ ...appPort, private: true }, controlPort], ...(serviceOf(id) !== id && { alias: serviceOf(id) }),
  });
  const sidecar: Unit = {
    id: sidecarId,
    role: 'sidecar',
    program: { kind: 'node', entry: 'sidecar/main.js' },
    beside: id,
    ports: [{ name: 'inbound', number: 15006 }, { name: 'outbound', number: 15001, private: true }, { name: 'admin', number: 15000 }, ...(keepsSessions ? [{ name: 'sessions', number: 16379, private: true }] : [])],
    ready: { port: 'admin', path: '/readyz' },
    needs: [id, 'control-plane'],
    environment: () => smallProcess,
    config: (at) => ({
      service: serviceOf(id),
      zone,
      identity: identityConfig(at, sidecarId),
      inbound: { listen: { ...at.listen('inbound'), ...(speaksGrpc && { http2: true }) }, app: at.of(id, 'app'), ...(speaksGrpc && { protocol: 'h2' }) },
      outbound: { listen: { ...at.listen('outbound'), ...(grpcCallers.includes(id) && { http2: true }) } },
      ...(keepsSessions && sessionStore(at)),
      admin: at.listen('admin'),
      controlPlane: { ...controlPlaneOf(at, sidecarId), advertise: at.public(sidecarId, 'inbound'), leaseTtl: '3s' },
      drainTimeout: '5s',
    }),
  };
  return [app, sidecar];
}

export function controlPlaneOf(at: Addresses, node: string): object {
  return {
    url: `http://${at.of('control-plane', 'api')}`, node, snapshotFile: at.file(`${node}.snapshot.json`),
    // In containers the lab’s network is its own, and the intruder only calls services.
    ...(at.tokens && { tokenFile: at.tokens.file(node), allowPlaintext: true }),
  };
}

/** The sidecar of the application that knows no proxy: in containers alone, and no part of the comparison. */
export const interceptedSidecar = { id: 'intercepted-sidecar', role: 'sidecar' } as const;

const sidecarIds: readonly string[] = [...applications.map((id) => `${id}-sidecar`), interceptedSidecar.id];

/** Each proxy has a token of its own, good for its own service alone; the lab may change everything. */
function accessOf(tokenOf: (unit: string) => string): object {
  const proxies = [{ id: 'gateway', whose: { gateway: true } }, ...sidecarIds.map((id) => ({ id, whose: { service: identityOf({ id, role: 'sidecar' }) } }))];
  return {
    tokens: [
      { name: 'lab', role: 'write', sha256: digest(tokenOf('lab')) },
      ...proxies.map(({ id, whose }) => ({ name: id, role: 'proxy', sha256: digest(tokenOf(id)), ...whose, node: id })),
    ],
  };
}

function digest(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** Those that show the control plane a token. */
export const tokenHolders: readonly string[] = ['lab', 'gateway', ...sidecarIds];

export const units: readonly Unit[] = [
  demo('issuer', 'issuer', (at) => ({ ISSUER: `http://${at.public('issuer', 'app')}` }), { role: 'issuer', needs: [] }),
  ...externalUnits(demo),
  {
    id: 'control-plane',
    role: 'control-plane',
    program: { kind: 'node', entry: 'control-plane/main.js' },
    mayCrash: true,
    ports: [{ name: 'api', number: 7000 }],
    ready: { port: 'api', path: '/readyz' },
    needs: [],
    environment: () => ({}),
    config: (at) => ({
      // The lab's network is its own; who speaks plain HTTP beyond loopback must say that it means it.
      listen: { ...at.listen('api'), ...(at.tokens && { allowPlaintext: true }) },
      dataDir: at.file('control-plane'),
      ca: { trustDomain },
      ...(at.tokens && { access: accessOf(at.tokens.of) }),
      resources: [
        ...serviceResources((unit, port) => at.of(unit, port)),
        ...routes('bare'),
        ...externalServices(at),
      ],
    }),
  },
  {
    id: 'gateway',
    role: 'gateway',
    program: { kind: 'node', entry: 'gateway/main.js' },
    ports: [{ name: 'http', number: 8080 }, { name: 'admin', number: 9901 }, { name: 'sessions', number: 16379 }],
    ready: { port: 'admin', path: '/readyz' },
    needs: ['control-plane'],
    environment: () => ({}),
    config: (at) => ({ zone, identity: identityConfig(at, 'gateway'), listen: { ...at.listen('http'), http2: true }, ...sessionStore(at), admin: at.listen('admin'), controlPlane: controlPlaneOf(at, 'gateway'), drainTimeout: '5s' }),
  },
  ...applications.map(bare),
  ...applications.flatMap(meshed),
];

/**
 * The services, each with and without sidecars. The addresses of sidecars come from the registry, unless zones are given:
 * then they are listed with the zone of each, by instance.
 */
export function serviceResources(addressOf: (unit: string, port: string) => string, zones: Readonly<Record<string, string>> = {}): object[] {
  return services.flatMap((name) => {
    const instances = instancesOf(name);
    const endpoint = (id: string, unit: string, port: string): unknown => (zones[id] === undefined ? addressOf(unit, port) : { address: addressOf(unit, port), zone: zones[id] });
    const protocol = grpcServices.includes(name) && { protocol: 'h2' };
    return [
      { kind: 'Service', name, ...protocol, ...(instances.some((id) => zones[id] !== undefined) && { endpoints: instances.map((id) => endpoint(id, `${id}-sidecar`, 'inbound')) }) },
      { kind: 'Service', name: `${name}-bare`, ...protocol, endpoints: instances.map((id) => endpoint(id, `${id}-bare`, 'app')) },
    ];
  });
}

/** The gateway's routes: to the applications themselves, or to the sidecars before them. */
export function routes(group: 'bare' | 'meshed'): object[] {
  const to = (service: string): string => (group === 'bare' ? `${service}-bare` : service);
  return [
    { kind: 'Route', name: 'orders', match: { path: '/orders' }, service: to('orders') },
    { kind: 'Route', name: 'users', match: { path: '/users' }, service: to('users') },
    { kind: 'Route', name: 'login', match: { path: '/login', method: 'POST' }, service: to('users') },
    { kind: 'Route', name: 'stock', match: { path: '/stock' }, service: to('inventory') },
    { kind: 'Route', name: 'payments', match: { path: '/payments' }, service: to('payments') },
    { kind: 'Route', name: 'pricing', match: { path: '/shop.Pricing' }, service: to('pricing') },
  ];
}
