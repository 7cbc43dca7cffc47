import type { Addresses, demo as demoUnit, Program, Unit } from './declaration.js';

/*
 * What the shop uses and the control plane knows no instances of: the provider, which belongs to somebody else and is found by
 * discovery, and the store of sessions, a Redis with a standby, which is reached as opaque TCP.
 */

/** The provider's instances, as they are called. */
export const providers: readonly string[] = ['provider-1', 'provider-2'];

/** The store's primary and its standby. */
export const sessionStores = ['sessions-1', 'sessions-2'] as const;

export function externalUnits(demo: typeof demoUnit): Unit[] {
  return [
    ...providers.map((id) => demo(id, 'provider', () => ({}), { role: 'provider', needs: [], alias: 'provider' })),
    ...sessionStores.map((id, index): Unit => ({
      id,
      role: 'store',
      program: { kind: 'redis', ...(index > 0 && { primary: sessionStores[0] }), twin: { entry: 'scenarios/services/main.js', args: ['redis-twin'] } },
      ports: [{ name: 'redis', number: 6379 }],
      ready: { port: 'redis' },
      needs: [],
      environment: () => ({}),
      mayCrash: true,
    })),
  ];
}

/** What `redis-server` is told: everything is kept, so that a primary that crashed comes back with what it had. */
export function redisArguments({ primary }: Extract<Program, { kind: 'redis' }>, at: Addresses, directory: string): string[] {
  const { host, port } = at.listen('redis');
  const settings = ['--bind', host, '--port', String(port), '--protected-mode', 'no', '--dir', directory, '--save', '', '--appendonly', 'yes', '--repl-diskless-sync-delay', '0'];
  return primary === undefined ? settings : [...settings, '--replicaof', ...at.of(primary, 'redis').split(':')];
}

/** Services of the control plane whose instances it is not told of: every proxy finds them by itself. */
export function externalServices(at: Addresses): object[] {
  return [{ kind: 'Service', name: 'provider', discovery: at.discovery('provider', 'app') }];
}

/** The way to the store that a proxy offers to who speaks no HTTP: the primary, and the standby when the primary is lost. */
export function sessionStore(at: Addresses): object {
  return {
    tcp: [{ name: 'sessions', listen: at.listen('sessions'), upstream: 'sessions' }],
    upstreams: {
      sessions: {
        endpoints: sessionStores.map((id, priority) => ({ address: at.of(id, 'redis'), priority })),
        connectTimeout: '500ms',
        healthCheck: { interval: '500ms', timeout: '1s', unhealthyThreshold: 2, healthyThreshold: 2 },
      },
    },
  };
}
