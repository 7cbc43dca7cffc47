import { Etcd3 } from 'etcd3';
import { readFileBounded } from '../../shared/files/read-file.js';
import type { EtcdStoreConfig } from '../store-config.js';

type Faults = NonNullable<NonNullable<ConstructorParameters<typeof Etcd3>[0]>['faultHandling']>;
type Policy = NonNullable<Faults['global']>;

/**
 * No retries and no breaker of the library's: it would send a transaction again whose answer was lost, and see its own first try as
 * somebody else's. What may be tried again, and where, is decided in `EtcdClient`.
 */
const once = { execute: async (call: (context: object) => unknown) => call({}) } as unknown as Policy;

/**
 * What makes a dead connection noticed, and a new one tried soon: etcd lets clients ask every 5 s at most, and gRPC would wait for up to
 * two minutes between attempts. Answers may be large: they are our own resources.
 */
const channel = {
  'grpc.keepalive_time_ms': 10_000,
  'grpc.keepalive_timeout_ms': 3_000,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1_000,
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
  'grpc.use_local_subchannel_pool': 1,
};

/** Connects to one member. Files are read each time, so that new certificates and passwords count from the next connection on. */
export async function connectTo(endpoint: string, { tls, username, passwordFile }: EtcdStoreConfig, deadline: () => Date): Promise<Etcd3> {
  const pem = (file: string | undefined): Promise<Buffer> | undefined => (file === undefined ? undefined : readFileBounded(file));
  const [ca, cert, key, password] = await Promise.all([pem(tls?.ca), pem(tls?.cert), pem(tls?.key), pem(passwordFile)]);
  return new Etcd3({
    hosts: endpoint,
    ...(ca !== undefined && { credentials: { rootCertificate: ca, ...(cert !== undefined && key !== undefined && { certChain: cert, privateKey: key }) } }),
    ...(username !== undefined && password !== undefined && { auth: { username, password: password.toString().trim() } }),
    grpcOptions: channel,
    defaultCallOptions: ({ isStream }) => (isStream ? {} : { deadline: deadline() }),
    faultHandling: { host: () => once, global: once },
  });
}
