import { Server, ServerCredentials, status, type Metadata } from '@grpc/grpc-js';
import { controlServer } from './control.js';
import { FaultSwitch } from './fault.js';
import { Stats } from './stats.js';

/** A call as it begins. */
interface Begun {
  readonly metadata: Metadata;
  on(event: 'cancelled', listener: () => void): unknown;
}

/** What every call meets before it is handled: it is counted, and fails or waits if the lab says so. Resolves with the failure, if there is one. */
export type Meet = (call: Begun) => Promise<{ readonly code: status; readonly details: string } | undefined>;

/** Serves a service of the shop that speaks gRPC, beside the same control server as all have. */
export async function serveGrpc(name: string, addTo: (server: Server, meet: Meet) => void, environment: NodeJS.ProcessEnv): Promise<void> {
  const { HOST = '127.0.0.1', PORT = '0', CONTROL_HOST = HOST, CONTROL_PORT = '0' } = environment;
  const faults = new FaultSwitch();
  const stats = new Stats();
  const server = new Server();
  addTo(server, async (call) => {
    const field = (key: string): string | undefined => call.metadata.get(key)[0]?.toString();
    const tag = field('x-lab-tag');
    stats.count(tag, field('x-lab-client'));
    const startedAt = performance.now();
    const gone = new AbortController();
    call.on('cancelled', () => gone.abort());
    const failed = await faults.meet(gone.signal);
    stats.worked(tag, gone.signal.aborted ? 'stopped' : 'finished', performance.now() - startedAt);
    if (failed === undefined) return undefined;
    return { code: failed === 503 ? status.UNAVAILABLE : status.INTERNAL, details: `${name} fails on purpose` };
  });
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`${HOST}:${PORT}`, ServerCredentials.createInsecure(), (error) => (error ? reject(error) : resolve()));
  });
  await controlServer(name, faults, stats).listen({ host: CONTROL_HOST, port: Number(CONTROL_PORT) });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => process.exit(0));
}
