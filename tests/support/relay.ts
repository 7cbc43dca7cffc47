import { connect, type Socket } from 'node:net';
import type { TestContext } from 'node:test';
import { tcpOrigin } from './origin.js';

/** A network between two processes that a test can make slow, or cut. */
export class Relay {
  /** How late what comes back is (ms). */
  delayMs = 0;
  #isCut = false;
  readonly #sockets = new Set<Socket>();

  private constructor(
    readonly port: number,
    private readonly target: { port: number },
  ) {}

  static async start(context: TestContext, port: number): Promise<Relay> {
    const origin = await tcpOrigin((socket) => relay.#carry(socket));
    context.after(() => origin.close());
    const relay: Relay = new Relay(origin.port, { port });
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Breaks what is open, and lets nothing through until it is restored. */
  cut(): void {
    this.#isCut = true;
    this.#sockets.forEach((socket) => socket.destroy());
  }

  restore(): void {
    this.#isCut = false;
  }

  #carry(near: Socket): void {
    if (this.#isCut) {
      near.destroy();
      return;
    }
    const far = connect(this.target.port, '127.0.0.1');
    for (const [socket, other] of [[near, far], [far, near]] as const) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    near.on('data', (data) => far.write(data));
    far.on('data', (data) => (this.delayMs === 0 ? near.write(data) : setTimeout(() => near.destroyed || near.write(data), this.delayMs)));
  }
}
