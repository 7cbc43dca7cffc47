import { ProxyError } from '../../errors/proxy-error.js';
import { breakOff } from '../../http/break-off.js';
import { emptyBody, type Body } from '../../http/body.js';
import { Exchange } from '../../http/exchange.js';
import { fieldKind } from '../../http/field-names.js';
import { hasReset } from '../../http/has-reset.js';
import { Headers } from '../../http/headers.js';
import type { HttpRequest, HttpResponse } from '../../http/message.js';
import type { Service } from '../../http/service.js';
import type { TunnelEnd } from '../../http/tunnel.js';
import { unreadRequest } from '../../http/unread-request.js';
import { removeHopByHop } from '../../http1/hop-by-hop.js';
import { MessageWriter } from '../../http1/message-writer.js';
import { wholeBody } from '../../http1/read-buffer.js';
import type { RequestHead } from '../../http1/request-head.js';
import { statusLine } from '../../http1/status-line.js';
import { violationToError } from '../violations.js';
import type { Http1Connection } from './http1-connection.js';
import { IncomingBody } from './incoming-body.js';
import { requestedUpgrade } from './requested-upgrade.js';
import { dropLength, responseFramingFor, responseHead } from './response-framing.js';

/**
 * What a connection is busy with, from the head of a request until its answer is written or broken off.
 * There is one exchange at a time, so one object serves all of a connection's.
 */
export class CurrentExchange {
  #exchange: Exchange | undefined;
  #head: RequestHead | undefined;
  /** The request's body, until its last byte was read. */
  #body: IncomingBody | undefined;
  #bodyBytes = 0;
  #writer: MessageWriter | undefined;
  #hasAnswer = false;
  /** Since when the client has not taken what was written for it (ms). */
  #blockedSince = 0;
  /** When a client that is made to wait is looked after next, or was last (clock reading, ms). */
  #glanceAt = 0;

  constructor(private readonly connection: Http1Connection) {}

  /** More of the request is to come. */
  get awaitsBody(): boolean {
    return this.#body !== undefined;
  }

  /** The answer has begun to go out. */
  get hasAnswer(): boolean {
    return this.#hasAnswer;
  }

  /**
   * Hands a request to the stack, `data` behind `end` being the beginning of its body, or what comes behind it. Returns the offset
   * behind what was consumed.
   */
  begin(head: RequestHead, data: Buffer, end: number, isLent: boolean, startedAt: number): number {
    const { connection } = this;
    const { options } = connection.listener;
    const { framing, headers } = head;
    this.#head = head;
    const exchange = this.#open(startedAt);
    if (head.minorVersion === 0) exchange.httpVersion = '1.0';
    let body: Body = emptyBody;
    if (framing.kind === 'length' && data.length - end >= framing.length) {
      // Small bodies arrive with their head: they need no stream, and can be sent again as they are.
      body = wholeBody(data, end, end + framing.length, isLent);
      this.#bodyBytes = framing.length;
      end += framing.length;
    } else if (framing.kind !== 'none') {
      this.#body = new IncomingBody(framing, options.limits, () => connection.now(), connection.socket, headers.hasKind(fieldKind.expect));
      connection.deadline = this.#body.deadline;
      body = this.#body.stream;
    }
    const upgrade = framing.kind === 'none' && headers.hasKind(fieldKind.upgrade) ? requestedUpgrade(head, options.limits.upgrades) : undefined;
    removeHopByHop(headers);
    const request: HttpRequest = {
      method: head.method,
      target: head.target.target,
      path: head.target.path,
      authority: head.authority,
      scheme: connection.isSecure ? 'https' : 'http',
      headers,
      body,
      upgrade,
      cancellation: exchange.cancellation,
    };
    this.#run(options.service, request, exchange);
    return end;
  }

  /** Answers a request that never became one: no request is handed on, but log and metrics see it. */
  refuse(error: ProxyError, startedAt: number): void {
    this.#body = undefined;
    const exchange = this.#open(startedAt);
    exchange.cancellation.cancel(error);
    const request: HttpRequest = { ...unreadRequest, headers: Headers.empty(), cancellation: exchange.cancellation };
    this.#run(this.connection.listener.options.refuse, request, exchange);
  }

  /** Returns the offset behind what belongs to the body, or -1 when it was refused. */
  readBody(data: Buffer, offset: number): number {
    const { connection } = this;
    const body = this.#body!;
    try {
      offset = body.read(data, offset, connection.now());
    } catch (error) {
      this.#failBody(violationToError(error));
      return -1;
    }
    this.#bodyBytes = body.bytes;
    if (this.#body === body) {
      if (body.isComplete) this.#body = undefined;
      connection.deadline = this.#nextDeadline(connection.now());
    }
    if (body.isComplete) body.end();
    return offset;
  }

  onDeadline(): void {
    const { connection } = this;
    const now = connection.now();
    if (connection.socket.isPaused() && hasReset(connection.socket)) {
      this.abandon(new ProxyError('client_closed'));
    } else if (this.#hasAnswer && connection.socket.writableNeedDrain && now - this.#blockedSince >= connection.listener.options.limits.writeTimeout) {
      this.abandon(new ProxyError('client_stalled'));
    } else if (connection.hasClientEnded && !this.#hasAnswer) {
      this.abandon(new ProxyError('client_closed'));
    } else if (this.#body !== undefined && !this.#body.isPaused && this.#body.deadline <= now) {
      this.#failBody(new ProxyError('request_timeout'));
    } else {
      connection.deadline = this.#nextDeadline(now);
    }
  }

  /** The client may send its body now, and has its time from now on. One that owes none has no time to be given. */
  #ask(): void {
    const { connection } = this;
    if (this.#body === undefined) return;
    const now = connection.now();
    this.#body.ask(now);
    connection.deadline = this.#nextDeadline(now);
  }

  /** The client was made to wait. */
  onPaused(): void {
    const { connection } = this;
    connection.deadline = Math.min(connection.deadline, this.#nextDeadline(connection.now()));
  }

  /** The client takes more. */
  onDrain(): void {
    if (this.#writer === undefined) return;
    this.#blocked();
    this.#writer.resume();
  }

  /** It takes nothing, from now on. */
  readonly #blocked = (): void => {
    this.#blockedSince = this.connection.now();
  };

  /** It cannot be completed: cancels what runs for it, and ends the connection. What was sent of an answer must not look like all of it. */
  abandon(reason: ProxyError): void {
    const { connection } = this;
    connection.deadline = Infinity;
    const exchange = this.#exchange;
    if (exchange !== undefined) {
      const body = this.#body;
      if (this.#writer !== undefined) exchange.responseBytes = this.#writer.bytesWritten;
      this.#end(exchange);
      exchange.errorCode ??= reason.code;
      if (!this.#hasAnswer) exchange.status = reason.entry.status;
      exchange.cancellation.cancel(reason);
      body?.stream.fail(reason);
      exchange.finish(connection.now());
    }
    if (connection.socket.destroyed) return;
    if (exchange !== undefined && this.#hasAnswer) breakOff(connection.socket);
    else connection.socket.destroy();
  }

  /** The tunnel that it became is closed, by nobody's fault if there is no `reason`. */
  endTunnel(reason?: ProxyError): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    this.#exchange = undefined;
    exchange.errorCode ??= reason?.code;
    exchange.finish(this.connection.now());
  }

  /** When it has to be looked at next. */
  #nextDeadline(now: number): number {
    const { connection } = this;
    let due = this.#body === undefined || this.#body.isPaused ? Infinity : this.#body.deadline;
    // It cannot tell that its client has left.
    if (connection.socket.isPaused()) due = Math.min(due, this.#nextGlance(now));
    if (this.#hasAnswer) due = Math.min(due, (connection.socket.writableNeedDrain ? this.#blockedSince : now) + connection.listener.options.limits.writeTimeout);
    return due;
  }

  /** One that was asked for is not asked for again before its time has come. */
  #nextGlance(now: number): number {
    const { listener } = this.connection;
    if (this.#glanceAt <= now) this.#glanceAt = listener.glances.next(now);
    listener.sweep.soon(this.#glanceAt);
    return this.#glanceAt;
  }

  #open(startedAt: number): Exchange {
    const { connection } = this;
    const exchange = new Exchange(connection.listener.options.name, connection.clientAddress, startedAt);
    exchange.inform = this.#inform;
    exchange.peer = connection.peer;
    this.#exchange = exchange;
    this.#hasAnswer = false;
    this.#bodyBytes = 0;
    return exchange;
  }

  #run(service: Service, request: HttpRequest, exchange: Exchange): void {
    exchange.request = request;
    service(request, exchange).then(this.#onResponse, this.#onDefect);
  }

  /** None comes after an exchange that was given up but the answer to that one. */
  readonly #onResponse = (response: HttpResponse): void => {
    const exchange = this.#exchange;
    try {
      if (exchange === undefined) {
        response.tunnel?.destroy();
        response.body.cancel(new ProxyError('client_closed'));
      } else if (response.tunnel !== undefined) {
        this.#switch(response, response.tunnel, exchange);
      } else {
        this.#respond(exchange.request!.method, response, exchange);
      }
    } catch (error) {
      this.#onDefect(error);
    }
  };

  /** The stack turns errors into responses; what still arrives here is a defect in the stack itself. */
  readonly #onDefect = (error: unknown): void => {
    const exchange = this.#exchange;
    if (exchange !== undefined) {
      exchange.errorCode ??= 'internal';
      exchange.cancellation.cancel(error as Error);
    }
    this.connection.socket.destroy();
  };

  /** Passes an interim response (103, 100) on. */
  readonly #inform = (status: number, headers: Headers): void => {
    const { socket } = this.connection;
    if (this.#head?.minorVersion !== 1 || this.#hasAnswer || this.#exchange === undefined) return;
    if (status === 100) this.#ask();
    // Nobody has to be told: for a client that takes nothing they would only pile up.
    if (socket.writableNeedDrain && status !== 100) return;
    removeHopByHop(headers);
    dropLength(headers);
    socket.write(`${statusLine(status)}${headers.toWire()}\r\n`, 'latin1');
  };

  #respond(method: string, response: HttpResponse, exchange: Exchange): void {
    const { connection } = this;
    // A request whose body is not all here may never be: its connection cannot be used again.
    if (this.#body !== undefined || connection.listener.isDraining || (connection.hasClientEnded && !connection.hasNext)) connection.keepAlive = false;
    if (response.status === 204) dropLength(response.headers);
    const minorVersion = this.#head?.minorVersion ?? 1;
    const framing = responseFramingFor(method, response, minorVersion);
    if (framing.kind === 'close') connection.keepAlive = false;
    exchange.status = response.status;
    this.#hasAnswer = true;
    removeHopByHop(response.headers);
    for (const add of exchange.responseFields) add(response.headers);
    const date = response.headers.hasKind(fieldKind.date) ? '' : connection.listener.date.line;
    const head = responseHead(response, framing, date, connection.fate(minorVersion));
    const { body } = response;
    if (framing.kind === 'none') {
      const hasDrained = connection.to.text(head);
      body.cancel(noBody);
      this.#finish(exchange, 0, hasDrained);
    } else if (body.whole !== undefined) {
      const hasDrained = connection.to.whole(head, body.whole);
      this.#finish(exchange, body.whole.length, hasDrained);
    } else {
      const writer = new MessageWriter(connection.to, head, framing.kind, body, (failure) => {
        if (this.#exchange !== exchange) return;
        if (failure === undefined) this.#finish(exchange, writer.bytesWritten, !connection.socket.writableNeedDrain);
        else this.#breakOff(exchange, response, writer.bytesWritten, failure, framing.kind === 'close');
      }, this.#blocked);
      this.#writer = writer;
      this.#blockedSince = connection.now();
      writer.start();
      if (this.#writer === writer) connection.deadline = this.#nextDeadline(connection.now());
    }
  }

  #switch(response: HttpResponse, upstream: TunnelEnd, exchange: Exchange): void {
    removeHopByHop(response.headers);
    dropLength(response.headers);
    exchange.status = response.status;
    this.#hasAnswer = true;
    this.connection.switchTo(exchange.request!.upgrade!, response, upstream, exchange);
  }

  /** The response is whole. `hasDrained`: the client takes what is written. */
  #finish(exchange: Exchange, bytesWritten: number, hasDrained: boolean): void {
    exchange.responseBytes = bytesWritten;
    this.#end(exchange);
    const now = this.connection.now();
    exchange.finish(now);
    this.connection.answered(now, hasDrained);
  }

  /** The client must see that this is not the whole answer: the end of the framing never comes, and where that is the end of the connection it is a reset. */
  #breakOff(exchange: Exchange, response: HttpResponse, bytesWritten: number, failure: Error, endsWithConnection: boolean): void {
    exchange.responseBytes = bytesWritten;
    this.#end(exchange);
    exchange.errorCode ??= failure instanceof ProxyError ? failure.code : 'upstream_truncated';
    response.body.cancel(failure);
    exchange.finish(this.connection.now());
    if (endsWithConnection) breakOff(this.connection.socket);
    else this.connection.destroy();
  }

  /** What is left of the request is read by nobody. */
  #end(exchange: Exchange): void {
    exchange.requestBytes = this.#bodyBytes;
    this.#exchange = undefined;
    this.#head = undefined;
    this.#body = undefined;
    this.#writer = undefined;
  }

  /** The rest of the request will not come, or is not acceptable. */
  #failBody(error: ProxyError): void {
    const { connection } = this;
    const exchange = this.#exchange;
    const body = this.#body;
    this.#body = undefined;
    connection.keepAlive = false;
    connection.deadline = Infinity;
    if (exchange === undefined) return;
    this.#bodyBytes = body?.bytes ?? 0;
    if (this.#hasAnswer) {
      exchange.errorCode ??= error.code;
      this.abandon(error);
      return;
    }
    // The stack fails with this reason, and its rescue layer answers with it.
    exchange.cancellation.cancel(error);
    body?.stream.fail(error);
  }
}

const noBody = new Error('the response has no body');
