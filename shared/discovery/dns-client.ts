import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { getServers } from 'node:dns';
import { connect, isIPv6 } from 'node:net';
import type { Clock } from '../clock/clock.js';
import { Cancellation } from '../http/cancellation.js';
import type { TcpAddress } from '../config/units.js';
import { decodeAnswer, encodeQuery, type DnsAnswer, type RecordType } from './dns-message.js';

interface DnsClientOptions {
  /** Default: those of the system, as they are at each query. */
  readonly resolvers: readonly TcpAddress[] | undefined;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

type Outcome = DnsAnswer | { readonly kind: 'timeout' };

/** A query, to one resolver, over one transport. Closes its socket when it is done or cancelled. */
type Ask = (resolver: TcpAddress, id: number, query: Buffer, read: (message: Buffer) => DnsAnswer | 'truncated' | undefined, cancellation: Cancellation) => Promise<DnsAnswer | 'truncated'>;

/**
 * Asks resolvers for records with their TTLs, which node:dns has for addresses only.
 *
 * A query goes out by UDP from a port of its own, with an unpredictable id, to a connected socket: the operating system drops what comes
 * from elsewhere, and what does not fit the query is passed over until the time is up. A truncated answer is fetched by TCP. A resolver
 * that fails or is silent leaves it to the next one; a name that does not exist is an answer.
 */
export class DnsClient {
  readonly #closing = new Cancellation();

  constructor(private readonly options: DnsClientOptions) {}

  /** Rejects only when the client is closed. */
  async query(name: string, type: RecordType): Promise<Outcome> {
    let last: Outcome = { kind: 'timeout' };
    for (const resolver of this.options.resolvers ?? systemResolvers()) {
      const outcome = await this.#queryOne(resolver, name, type);
      if (outcome.kind !== 'server_failure' && outcome.kind !== 'timeout') return outcome;
      last = outcome;
    }
    return last;
  }

  /** Ends what is under way. */
  close(): void {
    this.#closing.cancel(closed);
  }

  async #queryOne(resolver: TcpAddress, name: string, type: RecordType): Promise<Outcome> {
    this.#closing.throwIfCancelled();
    const id = randomInt(65_536);
    const query = encodeQuery(id, name, type);
    const read = (message: Buffer): DnsAnswer | 'truncated' | undefined => decodeAnswer(message, id, name, type);
    const cancellation = new Cancellation();
    this.#closing.subscribe(cancellation);
    const timer = this.options.clock.after(this.options.timeoutMs, () => cancellation.cancel(tookTooLong));
    try {
      const answer = await askByUdp(resolver, id, query, read, cancellation);
      if (answer !== 'truncated') return answer;
      const whole = await askByTcp(resolver, id, query, read, cancellation);
      return whole === 'truncated' ? { kind: 'server_failure', code: 'truncated by TCP' } : whole;
    } catch (error) {
      if (error === closed) throw error;
      if (error === tookTooLong) return { kind: 'timeout' };
      return { kind: 'server_failure', code: (error as NodeJS.ErrnoException).code ?? (error as Error).message };
    } finally {
      timer.cancel();
      this.#closing.unsubscribe(cancellation);
    }
  }
}

const closed = new Error('the client was closed');
const tookTooLong = new Error('the resolver took too long');

const askByUdp: Ask = ({ host, port }, _id, query, read, cancellation) =>
  new Promise((resolve, reject) => {
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    let isOver = false;
    const settle = (finish: () => void): void => {
      if (isOver) return;
      isOver = true;
      unsubscribe();
      socket.close();
      finish();
    };
    const unsubscribe = cancellation.onCancel((reason) => setImmediate(() => settle(() => reject(reason))));
    socket.on('error', (error) => settle(() => reject(error)));
    socket.on('message', (message) => {
      const answer = read(message);
      if (answer !== undefined) settle(() => resolve(answer));
    });
    socket.on('connect', () => {
      if (!isOver) socket.send(query, (error) => error && settle(() => reject(error)));
    });
    // With a callback a failure would go there, and not be an error of the socket.
    socket.connect(port, host);
  });

const askByTcp: Ask = ({ host, port }, _id, query, read, cancellation) =>
  new Promise((resolve, reject) => {
    const socket = connect({ host, port });
    let received = Buffer.alloc(0);
    const settle = (finish: () => void): void => {
      unsubscribe();
      socket.destroy();
      finish();
    };
    const unsubscribe = cancellation.onCancel((reason) => setImmediate(() => settle(() => reject(reason))));
    socket.on('error', (error) => settle(() => reject(error)));
    socket.on('end', () => settle(() => reject(new Error('the resolver closed the connection'))));
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      // RFC 1035 section 4.2.2: two bytes of length, then the message; so never more than 64 KiB are held.
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const answer = read(received.subarray(2, 2 + received.readUInt16BE(0)));
      settle(() => (answer === undefined ? reject(new Error('the answer by TCP is not one')) : resolve(answer)));
    });
    const length = Buffer.alloc(2);
    length.writeUInt16BE(query.length);
    socket.write(Buffer.concat([length, query]));
  });

/** The system's, as `host` or `host:port`. */
function systemResolvers(): TcpAddress[] {
  return getServers().map((server) => {
    const match = /^\[(.+)\]:(\d+)$/.exec(server) ?? /^([\d.]+):(\d+)$/.exec(server);
    return match === null ? { host: server, port: 53 } : { host: match[1]!, port: Number(match[2]) };
  });
}
