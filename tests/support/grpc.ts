import { Client, credentials, Metadata, Server, ServerCredentials, status, type ServiceDefinition, type UntypedServiceImplementation } from '@grpc/grpc-js';
import { patienceMs } from './patience.js';

const bytes = (value: Buffer): Buffer => value;
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`, requestStream, responseStream, requestSerialize: bytes, requestDeserialize: bytes, responseSerialize: bytes, responseDeserialize: bytes,
});

/** A service of every kind of call, whose messages are plain bytes. */
export const echoService = {
  Unary: method('Unary', false, false),
  Collect: method('Collect', true, false),
  Count: method('Count', false, true),
  Chat: method('Chat', true, true),
} satisfies ServiceDefinition;

export interface GrpcOrigin {
  readonly port: number;
  close(): void;
}

/** A real server of gRPC on a free port of loopback, without TLS. */
export function grpcOrigin(implementation: UntypedServiceImplementation): Promise<GrpcOrigin> {
  const server = new Server();
  server.addService(echoService, implementation);
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(error);
      else resolve({ port, close: () => server.forceShutdown() });
    });
  });
}

/** A client that calls `authority` at a port of loopback, without retries of its own. */
export function grpcClient(port: number, authority: string): Client {
  return new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { 'grpc.default_authority': authority, 'grpc.enable_retries': 0, 'grpc.use_local_subchannel_pool': 1 });
}

interface UnaryOutcome {
  readonly code: number;
  readonly details: string;
  readonly message: string | undefined;
  readonly initial: Metadata | undefined;
  readonly trailing: Metadata;
}

/** One unary call, whatever comes of it. */
export function unary(client: Client, text: string, { metadata = new Metadata(), deadlineMs = patienceMs, path = echoService.Unary.path } = {}): Promise<UnaryOutcome> {
  return new Promise((resolve) => {
    let message: string | undefined;
    let initial: Metadata | undefined;
    const call = client.makeUnaryRequest(path, bytes, bytes, Buffer.from(text), metadata, { deadline: Date.now() + deadlineMs }, (_error, answer) => (message = answer?.toString()));
    call.on('metadata', (received) => (initial = received));
    call.on('status', ({ code, details, metadata: trailing }) => setImmediate(() => resolve({ code, details, message, initial, trailing })));
  });
}

export { Metadata, status };
