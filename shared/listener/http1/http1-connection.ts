import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { ProxyError } from '../../errors/proxy-error.js';
import { breakOff } from '../../http/break-off.js';
import type { Exchange, Peer } from '../../http/exchange.js';
import type { HttpResponse } from '../../http/message.js';
import type { TunnelEnd } from '../../http/tunnel.js';
import { HeadLines, scanHead } from '../../http1/head.js';
import { Http1Error } from '../../http1/http1-error.js';
import { keepAliveLines } from '../../http1/keep-alive.js';
import { parseRequestHead } from '../../http1/request-head.js';
import { SocketWriter } from '../../http1/socket-writer.js';
import { statusLine } from '../../http1/status-line.js';
import { halfCloseGraceMs, type Http1Listener } from '../http1-listener.js';
import { violationToError } from '../violations.js';
import { ClientInput } from './client-input.js';
import { ClientTunnel } from './client-tunnel.js';
import { CurrentExchange } from './current-exchange.js';
import { checkRequest } from './request-check.js';

/** Of the head that is being read: it is scanned and parsed in one go. */
const headLines = new HeadLines();

/**
 * One client connection.
 *
 * `head`: waiting for, or in the middle of, a request head. `exchange`: a request was handed to the
 * stack; its body may still be arriving and its answer going out. `tunnel`: both sides switched to another protocol, and
 * bytes pass as they are. `closing`: the last answer was sent and what the client still sends is thrown away, so
 * that the answer is not lost to a reset. One exchange at a time: pipelined requests are held, with the
 * socket paused when there are many, and are answered in order; and none is read while the client does not take what it was answered.
 */
export class Http1Connection {
  deadline: number;
  /** Another request may follow the one that is being answered. */
  keepAlive = true;
  /** The client has sent FIN. */
  hasClientEnded = false;
  readonly to: SocketWriter;
  readonly #input: ClientInput;
  readonly #current: CurrentExchange;
  #state: 'head' | 'exchange' | 'tunnel' | 'closing' = 'head';
  /** When the first byte of a head came (ms); 0: none has. */
  #headStartedAt = 0;
  #requests = 0;
  /** Of the last answer, while it is not with the kernel: how much was left when that was last looked at (bytes). */
  #unsent: number | undefined;
  /** When a client that still sends is not listened to any more (ms). */
  #lingersUntil = 0;
  /** The next request waits until the client has taken the answers before it. */
  #waitsForDrain = false;
  #tunnel: ClientTunnel | undefined;

  constructor(
    readonly socket: Socket,
    readonly clientAddress: string,
    readonly listener: Http1Listener,
    readonly peer: Peer | undefined,
  ) {
    this.to = new SocketWriter(socket);
    this.deadline = this.now() + listener.options.limits.headTimeout;
    this.#current = new CurrentExchange(this);
    this.#input = new ClientInput(socket, (data, scanned) => this.#read(data, scanned));
    socket.on('end', this.#onEnd);
    socket.on('drain', this.#onDrain);
    socket.on('close', this.#onClose);
  }

  /** The client has sent something behind the request that is being answered. */
  get hasNext(): boolean {
    return !this.#input.isEmpty;
  }

  get isSecure(): boolean {
    return this.listener.options.credentials !== undefined || this.peer !== undefined;
  }

  now(): number {
    return this.listener.options.clock.now();
  }

  /** A deadline that is nearer than those that the sweep is made for. */
  within(ms: number): number {
    const at = this.now() + ms;
    this.listener.sweep.soon(at);
    return at;
  }

  closeIfIdle(): void {
    if (this.#state !== 'head' || this.hasNext) return;
    if (this.#waitsForDrain || this.to.hasUnsent) this.#closeGently();
    else this.socket.destroy();
  }

  /**
   * The field lines that tell a client of HTTP/1.`minorVersion` what becomes of the connection. One that has proven who it is, for which a
   * connection is dear and which is mostly a proxy itself, hears with its first answer how long it is kept.
   */
  fate(minorVersion: number): string {
    if (!this.keepAlive) return 'Connection: close\r\n';
    if (minorVersion === 0) return 'Connection: keep-alive\r\n';
    return this.#requests === 1 && (this.socket as Partial<TLSSocket>).authorized === true ? keepAliveLines(this.listener.options.limits.idleTimeout) : '';
  }

  /** What has begun to arrive is still answered. */
  retire(): void {
    this.#requests = Infinity;
    if (this.#state === 'exchange') this.keepAlive = false;
    else this.closeIfIdle();
  }

  /** Answers whatever the client asks, or is about to, with an error, and closes. */
  refuse(error: ProxyError): void {
    this.#input.take();
    this.#state = 'exchange';
    this.keepAlive = false;
    this.deadline = Infinity;
    this.#current.refuse(error, this.#takeStart());
  }

  /** The process ends, and what is unfinished with it. */
  destroy(): void {
    const reason = new ProxyError('shut_down');
    if (this.#state === 'head' && !this.to.hasUnsent) this.socket.destroy();
    else breakOff(this.socket);
    if (this.#tunnel === undefined) this.#current.abandon(reason);
    else this.#current.endTunnel(reason);
  }

  onDeadline(): void {
    switch (this.#state) {
      case 'closing':
        this.#checkClosing();
        break;
      case 'head':
        if (!this.hasNext || this.#waitsForDrain) this.socket.destroy();
        else this.refuse(new ProxyError('request_timeout'));
        break;
      case 'tunnel':
        this.#checkTunnel(this.#tunnel!);
        break;
      case 'exchange':
        this.#current.onDeadline();
    }
  }

  /** The answer is written. `hasDrained`: and the client takes what is written. */
  answered(now: number, hasDrained: boolean): void {
    // A drain may have begun behind a head that promised more.
    if (!this.keepAlive || (this.listener.isEnding && !this.hasNext)) {
      this.#closeGently();
      return;
    }
    const { limits } = this.listener.options;
    this.#state = 'head';
    if (!hasDrained) {
      this.#waitsForDrain = true;
      this.socket.pause();
      this.deadline = now + limits.writeTimeout;
      return;
    }
    this.deadline = now + limits.idleTimeout;
    this.#resumeReading();
  }

  /** The upstream has switched to another protocol: so do we. The exchange lasts as long as the tunnel. */
  switchTo(protocol: string, { status, headers }: HttpResponse, upstream: TunnelEnd, exchange: Exchange): void {
    this.#state = 'tunnel';
    this.socket.write(`${statusLine(status)}${headers.toWire()}Connection: Upgrade\r\nUpgrade: ${protocol}\r\n\r\n`, 'latin1');
    const { clock, limits } = this.listener.options;
    const tunnel = new ClientTunnel(this.socket, clock, limits.tunnelIdleTimeout);
    this.#tunnel = tunnel;
    tunnel.join(upstream, exchange, this.#input.take(), this.hasClientEnded);
    this.deadline = tunnel.deadline;
  }

  #checkTunnel(tunnel: ClientTunnel): void {
    this.deadline = tunnel.deadline;
    if (tunnel.deadline > this.now()) return;
    this.#current.endTunnel(new ProxyError('idle_timeout'));
    tunnel.close();
  }

  #read(data: Buffer, scanned: number): void {
    let offset = 0;
    while (offset < data.length) {
      if (this.#current.awaitsBody) {
        if (this.#input.isLent) {
          data = this.#input.own(data, offset);
          offset = 0;
        }
        offset = this.#current.readBody(data, offset);
        if (offset === -1) return;
      } else if (this.#state === 'head' && this.#waitsForDrain) {
        // TLS hands over all that it has read at once, also where it was paused meanwhile.
        this.#input.hold(data, offset, false);
        return;
      } else if (this.#state === 'head') {
        offset = this.#readHead(data, offset, scanned);
        if (offset === -1) return;
      } else {
        this.#readBeyond(data, offset);
        return;
      }
    }
  }

  /** Returns the offset behind what was consumed of a request, or -1 when its head is incomplete or was refused. */
  #readHead(data: Buffer, offset: number, scanned: number): number {
    const { limits } = this.listener.options;
    // RFC 9112 section 2.2: an empty line before a request is ignored.
    if (data[offset] === 13 && data[offset + 1] === 10) offset += 2;
    if (offset === data.length) return offset;
    if (this.#headStartedAt === 0) {
      this.#headStartedAt = this.now();
      this.deadline = this.#headStartedAt + limits.headTimeout;
    }
    try {
      const end = scanHead(data, this.#input.wordsOf(data), offset, Math.max(offset, scanned), headLines);
      if ((end === -1 ? data.length : end) - offset > limits.maxHeadBytes) {
        throw new Http1Error('head_too_large', `a head of more than ${limits.maxHeadBytes} bytes`);
      }
      if (end === -1) {
        this.#input.hold(data, offset, true);
        return -1;
      }
      const head = parseRequestHead(data, offset, end, limits, headLines);
      checkRequest(head, limits.maxBodyBytes, this.isSecure, end < data.length);
      this.#state = 'exchange';
      this.keepAlive = head.keepAlive && ++this.#requests < limits.maxRequestsPerConnection;
      // Requests that came before the client's FIN are answered, each as if the FIN came now.
      this.deadline = this.hasClientEnded ? this.within(halfCloseGraceMs) : Infinity;
      return this.#current.begin(head, data, end, this.#input.isLent, this.#takeStart());
    } catch (error) {
      this.refuse(violationToError(error));
      return -1;
    }
  }

  #takeStart(): number {
    const startedAt = this.#headStartedAt === 0 ? this.now() : this.#headStartedAt;
    this.#headStartedAt = 0;
    return startedAt;
  }

  /** What comes behind a request: the next one, which waits until the exchange before it is over; another protocol; or what nobody reads. */
  #readBeyond(data: Buffer, offset: number): void {
    if (this.#tunnel !== undefined) {
      this.#tunnel.received(this.#input.isLent ? this.#input.own(data, offset) : data.subarray(offset));
    } else if (this.#state === 'closing') {
      if (this.#unsent === undefined) this.deadline = Math.min(this.now() + lingerMs, this.#lingersUntil);
    } else if (this.#input.hold(data, offset, false) >= maxHeldBytes) {
      this.socket.pause();
      this.#current.onPaused();
    }
  }

  #resumeReading(): void {
    // Not from within the write that ended the last exchange: a long pipeline would recurse.
    if (this.hasNext) this.#input.defer(this.#readHeld);
    else if (this.hasClientEnded) this.#closeGently();
    if (this.socket.isPaused()) this.socket.resume();
  }

  readonly #readHeld = (): void => {
    if (this.socket.destroyed) return;
    this.#input.readHeld();
    if (!this.hasClientEnded) return;
    // It will send nothing more: what is unfinished now stays so.
    if (this.#state === 'head') this.#closeGently();
    else if (this.#current.awaitsBody) this.#current.abandon(new ProxyError('client_closed'));
  };

  /** Sends what is left and FIN, then reads and drops what the client still sends (RFC 9112 section 9.6). */
  #closeGently(): void {
    this.#state = 'closing';
    this.#input.take();
    this.socket.resume();
    if (!this.to.hasUnsent) {
      this.#linger();
      return;
    }
    this.#unsent = this.socket.writableLength;
    this.deadline = this.now() + this.listener.options.limits.writeTimeout;
    // Not its end yet: what has been told to end cannot be reset.
    this.socket.write('', this.#linger);
  }

  readonly #linger = (): void => {
    if (this.socket.destroyed) return;
    const now = this.now();
    this.#unsent = undefined;
    this.#lingersUntil = now + maxLingerMs;
    this.deadline = now + lingerMs;
    if (this.hasClientEnded) this.socket.destroySoon();
    else this.socket.end();
  };

  /** A client that takes its answer has time for it; one that does not must not take what it has for the whole. */
  #checkClosing(): void {
    const { writableLength } = this.socket;
    if (this.#unsent === undefined) {
      this.socket.destroy();
    } else if (writableLength === this.#unsent) {
      breakOff(this.socket);
    } else {
      this.#unsent = writableLength;
      this.deadline = this.now() + this.listener.options.limits.writeTimeout;
    }
  }

  readonly #onDrain = (): void => {
    if (this.#tunnel !== undefined) {
      this.#tunnel.drained();
    } else if (this.#waitsForDrain && this.#state === 'head') {
      this.#waitsForDrain = false;
      this.deadline = this.now() + this.listener.options.limits.idleTimeout;
      this.#resumeReading();
    } else {
      this.#current.onDrain();
    }
  };

  readonly #onEnd = (): void => {
    this.hasClientEnded = true;
    if (this.#tunnel !== undefined) this.#tunnel.ended();
    else if (this.#state === 'closing') this.#onEndWhileClosing();
    else if (this.#state === 'head' && !this.#input.isDeferred && !(this.#waitsForDrain && this.hasNext)) this.socket.destroySoon();
    else if (this.#current.awaitsBody) this.#current.abandon(new ProxyError('client_closed'));
    else if (!this.#current.hasAnswer) this.deadline = this.within(halfCloseGraceMs);
  };

  #onEndWhileClosing(): void {
    if (this.#unsent === undefined) this.socket.destroySoon();
  }

  readonly #onClose = (): void => {
    if (this.#tunnel === undefined) {
      this.#current.abandon(new ProxyError('client_closed'));
    } else {
      this.#tunnel.closed();
      this.#current.endTunnel();
    }
  };
}

/** How long a client may say nothing before it is closed that has its last answer, and how long it may go on in all (ms): it would lose the answer to a reset. */
const lingerMs = 1_000;
const maxLingerMs = 30_000;
/** What a client may send ahead before it is made to wait. */
const maxHeldBytes = 16_384;
