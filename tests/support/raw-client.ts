import { connect, type Socket } from 'node:net';
import { hasReset } from '../../shared/http/has-reset.js';
import { patiently } from './patience.js';

/** A TCP client that sends exactly the bytes it is told to and keeps all that comes back. */
export class RawClient {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #closed = false;
  #wasReset = false;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (data) => {
      this.#received = Buffer.concat([this.#received, data]);
      this.#wake?.();
    });
    socket.on('error', ({ code }: NodeJS.ErrnoException) => (this.#wasReset = code === 'ECONNRESET'));
    socket.on('end', () => (this.#wasReset = hasReset(socket)));
    socket.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  static connect(port: number, options: { allowHalfOpen?: boolean } = {}): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true, ...options });
      const client = new RawClient(socket);
      socket.once('error', reject);
      socket.once('connect', () => {
        socket.off('error', reject);
        resolve(client);
      });
    });
  }

  send(text: string | Buffer): this {
    this.socket.write(typeof text === 'string' ? Buffer.from(text, 'latin1') : text);
    return this;
  }

  get text(): string {
    return this.#received.toString('latin1');
  }

  /** Whether the peer has reset the connection, instead of ending it. */
  get wasReset(): boolean {
    return this.#wasReset;
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Resolves with everything received once it satisfies `isEnough`; rejects when the connection closes first. */
  async until(isEnough: (text: string) => boolean): Promise<string> {
    while (!isEnough(this.text)) {
      if (this.#closed) throw new Error(`the connection was closed after: ${JSON.stringify(this.text)}`);
      await this.#change();
    }
    return this.text;
  }

  /** Resolves with everything received once the peer has closed. */
  async untilClosed(): Promise<string> {
    while (!this.#closed) await this.#change();
    return this.text;
  }

  close(): void {
    this.socket.destroy();
  }

  #change(): Promise<void> {
    const change = new Promise<void>((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
    return patiently(change, () => `${this.#received.length} bytes have come, which end in ${JSON.stringify(this.text.slice(-1000))}`);
  }
}

/** Sends `bytes` on a connection of its own and returns all that comes until the peer closes. */
export async function exchangeRaw(port: number, bytes: string): Promise<string> {
  const client = await RawClient.connect(port);
  return client.send(bytes).untilClosed();
}
