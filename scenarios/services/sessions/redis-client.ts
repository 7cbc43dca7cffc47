import { connect, type Socket } from 'node:net';
import { encodeCommand, RespReader, type Reply } from './resp.js';

/** The store could not be asked, or did not answer. */
export class StoreFailure extends Error {}

interface Waiting {
  readonly resolve: (reply: Reply) => void;
  readonly reject: (error: StoreFailure) => void;
  readonly timer: NodeJS.Timeout;
}

const maxWaiting = 1_000;

/**
 * A client of Redis as applications use them: one address, one connection, which is made when it is needed and again after
 * it broke. What was asked on a connection that broke fails; nothing is asked twice.
 */
export class RedisClient {
  #socket: Socket | undefined;
  #waiting: Waiting[] = [];

  /** `timeoutMs`: what is not answered within this time fails, and its connection with it. */
  constructor(
    private readonly address: string,
    private readonly timeoutMs = 1_000,
  ) {}

  /** Rejects with a `StoreFailure` when there is no answer, or one that says it went wrong. */
  send(...words: string[]): Promise<Reply> {
    if (this.#waiting.length >= maxWaiting) return Promise.reject(new StoreFailure(`${maxWaiting} commands wait for the store already`));
    this.#socket ??= this.#connect();
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => socket.destroy(new Error('the store does not answer')), this.timeoutMs);
      this.#waiting.push({ resolve, reject, timer });
      socket.write(encodeCommand(words));
    });
  }

  close(): void {
    this.#socket?.destroy();
  }

  #connect(): Socket {
    const at = this.address.lastIndexOf(':');
    const socket = connect({ host: this.address.slice(0, at), port: Number(this.address.slice(at + 1)), noDelay: true });
    const reader = new RespReader();
    let problem = 'the store closed the connection';
    socket.on('data', (data) => {
      try {
        for (const reply of reader.take(data)) this.#answer(reply);
      } catch (error) {
        socket.destroy(error as Error);
      }
    });
    socket.on('error', (error) => (problem = error.message));
    socket.on('end', () => socket.destroy());
    socket.on('close', () => {
      this.#socket = undefined;
      for (const { reject, timer } of this.#waiting.splice(0)) {
        clearTimeout(timer);
        reject(new StoreFailure(problem));
      }
    });
    return socket;
  }

  #answer(reply: Reply): void {
    const waiting = this.#waiting.shift();
    if (waiting === undefined) return;
    clearTimeout(waiting.timer);
    if (reply instanceof Error) waiting.reject(new StoreFailure(reply.message));
    else waiting.resolve(reply);
  }
}
