import { createServer as createHttpServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import { createServer as createTcpServer, type AddressInfo, type Server as TcpServer, type Socket } from 'node:net';
import { freePort } from '../../scenarios/lab/free-port.js';

export interface Origin {
  readonly port: number;
  readonly address: { readonly host: string; readonly port: number };
  close(): Promise<void>;
}

/** An origin of bare TCP, which may be away for a while. */
interface TcpOrigin extends Origin {
  /** The connections that there are stay. */
  stopListening(): void;
  /** On the same port. */
  listenAgain(): Promise<void>;
}

/** A real HTTP server on a free port of loopback. */
export function httpOrigin(handler: RequestListener): Promise<Origin & { readonly server: Server }> {
  const server = createHttpServer({ keepAliveTimeout: 60_000 }, handler);
  return listen(server, () => server.closeAllConnections()).then((origin) => ({ ...origin, server }));
}

/** A TCP server that does with each connection what the test says: broken upstreams are made of this. */
export async function tcpOrigin(handler: (socket: Socket) => void, options: { readonly allowHalfOpen?: boolean } = {}): Promise<TcpOrigin> {
  const sockets = new Set<Socket>();
  const server = createTcpServer({ noDelay: true, ...options }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    handler(socket);
  });
  const origin = await listen(server, () => sockets.forEach((socket) => socket.destroy()));
  const { host, port } = origin.address;
  return { ...origin, stopListening: () => void server.close(), listenAgain: () => new Promise((resolve) => server.listen(port, host, resolve)) };
}

/** A port on which nobody listens, and nobody will. */
export const refusedPort = (): Promise<number> => freePort();

/** Reads a whole request body. */
export async function readBody(message: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

function listen(server: TcpServer | Server, closeConnections: () => void): Promise<Origin> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      resolve({
        port,
        address: { host: '127.0.0.1', port },
        close: () =>
          new Promise((done) => {
            server.close(() => done());
            closeConnections();
          }),
      });
    });
  });
}
