import { smallProcess } from '../../sidecar/small-process.js';
import { calls, controlPlaneOf, identityConfig, interceptedSidecar, zone, type Addresses } from '../lab/declaration.js';
import { sessionStore } from '../lab/outside.js';

/*
 * The users once more, as an application that knows of no proxy: it calls others by their names and ports, and rules in its
 * network namespace lead all of it through the sidecar. In containers alone, since rules need NET_ADMIN in a namespace; in a
 * profile of its own, so that the comparison asks for no privilege.
 *
 * Orders are an upstream of the sidecar. The issuer is none, and is passed through. The store is opaque, and goes by its port.
 */

const profiles = ['interception'];
const namespace = { network_mode: 'service:intercepted' };
const proxyUid = 1337;
/** The group of whoever writes join tokens, which may read them. */
const joinTokenGid = 1000;

export interface Parts {
  readonly hardened: object;
  /** The image of the Node.js processes. */
  readonly node: object;
  readonly healthcheck: (port: number, path: string) => object;
}

/** It calls whom the users call, each by its own name and port. */
const { mesh, outside } = calls['users']!;
const addressesOfCalled = Object.fromEntries([...mesh, ...outside].map((name) => [`${name.toUpperCase()}_URLS`, `http://${name}:3000`]));

export function interceptedServices({ hardened, node, healthcheck }: Parts): Record<string, object> {
  return {
    // Holds the network namespace, so that rules are there before anything that they are for.
    intercepted: { ...hardened, ...node, profiles, command: ['sleep', 'infinity'], user: '65534:65534' },
    'intercepted-rules': {
      ...hardened, profiles, ...namespace, build: { context: 'deploy/interception' }, image: 'ambassador-or-sidecar-intercept:local',
      // The only one with a privilege, and gone when the others start. /run is for the lock of iptables.
      tmpfs: ['/run'], cap_add: ['NET_ADMIN', 'NET_RAW'],
      environment: { PROXY_UID: String(proxyUid), OPAQUE_PORTS: '6379:16379', EXCLUDE_INBOUND_PORTS: '3100' },
      depends_on: { intercepted: { condition: 'service_started' } },
    },
    'intercepted-sidecar': {
      ...hardened, ...node, profiles, ...namespace,
      command: ['node', 'dist/sidecar/main.js', '--config', '/app/config/intercepted-sidecar.yaml'], user: `${proxyUid}:${joinTokenGid}`, environment: smallProcess,
      volumes: ['join-tokens:/join-tokens:ro'],
      depends_on: { 'intercepted-rules': { condition: 'service_completed_successfully' }, 'control-plane': { condition: 'service_healthy' }, 'join-tokens': { condition: 'service_healthy' } },
      healthcheck: healthcheck(15000, '/healthz'),
    },
    'intercepted-app': {
      ...hardened, ...node, profiles, ...namespace,
      command: ['node', 'dist/scenarios/services/main.js', 'users'],
      environment: {
        HOST: '127.0.0.1', PORT: '3000', CONTROL_HOST: '0.0.0.0', CONTROL_PORT: '3100', INSTANCE: 'intercepted',
        ...addressesOfCalled, SESSIONS_ADDRESS: 'sessions-1:6379',
      },
      depends_on: Object.fromEntries(['intercepted-sidecar', ...mesh, ...outside, 'sessions-1'].map((id) => [id, { condition: 'service_healthy' }])),
      healthcheck: healthcheck(3100, '/healthz'),
    },
  };
}

/** The configuration of its sidecar, which listens where the rules lead. It is no instance of the users to the others. */
export function interceptedConfig(at: Addresses): object {
  return {
    service: 'intercepted',
    zone,
    identity: identityConfig(at, interceptedSidecar.id),
    // Those that call it need not be in the mesh.
    inbound: { listen: { host: '0.0.0.0', port: 15006 }, app: '127.0.0.1:3000', mtls: 'permissive' },
    outbound: { listen: { host: '127.0.0.1', port: 15001 }, unknownHosts: 'passthrough' },
    ...sessionStore(at),
    admin: { host: '0.0.0.0', port: 15000 },
    controlPlane: controlPlaneOf(at, interceptedSidecar.id),
    drainTimeout: '5s',
  };
}
