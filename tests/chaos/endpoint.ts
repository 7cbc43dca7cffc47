import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { freePort } from '../../scenarios/lab/free-port.js';
import { readBody } from '../support/origin.js';
import type { FaultKind } from './schedule.js';

const slowMs = 60;
const stallMs = 2_500;

/** An instance of a service that can be made to fail in every way, and to return. It answers with what it was asked. */
export class ChaosEndpoint {
  #fault: FaultKind | undefined;
  #server: Server | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #hanging = new Set<ServerResponse>();
  readonly #timers = new Set<NodeJS.Timeout>();

  private constructor(private readonly port: number) {}

  static async start(): Promise<ChaosEndpoint> {
    const endpoint = new ChaosEndpoint(await freePort());
    await endpoint.#listen();
    return endpoint;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  async begin(fault: FaultKind): Promise<void> {
    this.#fault = fault;
    if (fault === 'crash') await this.close();
  }

  async heal(): Promise<void> {
    const crashed = this.#fault === 'crash';
    this.#fault = undefined;
    // A process that comes round does not answer what it left lying: its peers have given up.
    for (const response of this.#hanging) response.socket?.destroy();
    this.#hanging.clear();
    if (crashed) await this.#listen();
  }

  async close(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
    const closed = new Promise((resolve) => this.#server!.close(resolve));
    for (const socket of this.#sockets) socket.resetAndDestroy();
    await closed;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request);
    switch (this.#fault) {
      case 'hang':
        this.#hanging.add(response);
        response.once('close', () => this.#hanging.delete(response));
        return;
      case 'reset':
        request.socket.resetAndDestroy();
        return;
      case 'error':
        response.writeHead(503, { 'content-length': 0 }).end();
        return;
      case 'slow':
        return this.#after(slowMs, () => echo(request, response, body));
      case 'stall':
        return this.#after(stallMs, () => echo(request, response, body));
      default:
        echo(request, response, body);
    }
  }

  #after(ms: number, answer: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      answer();
    }, ms);
    this.#timers.add(timer);
  }

  async #listen(): Promise<void> {
    const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => void this.#answer(request, response).catch(() => {}));
    server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('error', () => {}).once('close', () => this.#sockets.delete(socket));
    });
    this.#server = server;
    await once(server.listen(this.port, '127.0.0.1'), 'listening');
  }
}

function echo({ method, url }: IncomingMessage, response: ServerResponse, body: string): void {
  const text = `${method} ${url} ${body.length}`;
  response.writeHead(200, { 'content-length': text.length }).end(text);
}
