import type { ResponseLimit } from '../clock/response-time-limit.js';
import type { ErrorCode } from '../errors/catalogue.js';
import type { TraceContext } from '../telemetry/trace-context.js';
import { Cancellation } from './cancellation.js';
import type { Headers, PreparedFields } from './headers.js';
import type { SpiffeId } from '../identity/spiffe.js';
import type { HttpRequest } from './message.js';

/** Who sent the request, once a policy has established it. */
export interface Caller {
  readonly subject: string;
  readonly scopes: ReadonlySet<string>;
  readonly claims: Readonly<Record<string, unknown>>;
}

/** Who is at the other end of the client's connection, as its verified certificate says. */
export interface Peer extends SpiffeId {
  /** The whole name: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE`. */
  readonly id: string;
  /** What the application is told of it: `X-Forwarded-Client-Cert`, made once. */
  readonly forwarded?: PreparedFields | undefined;
}

/** What authorization had against a request: it was refused, or in a dry run would have been. */
export interface Refusal {
  /** Name of the rule that refuses it; `default` where no rule let it in. */
  readonly rule: string;
  readonly isDryRun: boolean;
}

type FinishCallback = (exchange: Exchange) => void;

/**
 * One request and its response: everything about the pair that is not in the messages themselves.
 * Layers note here what the access log, the metrics and the layers around them need to know.
 */
export class Exchange {
  readonly cancellation = new Cancellation();
  /** The request as the client sent it; a refused one has `-` for what could not be read. */
  request: HttpRequest | undefined;
  /** The version of HTTP that the client spoke. */
  httpVersion: '1.0' | '1.1' | '2' = '1.1';

  /** Unique id, from the client where it is trusted, otherwise made here; also sent upstream. */
  requestId = '';
  trace: TraceContext | undefined;
  caller: Caller | undefined;
  /** The workload that the connection belongs to, where it has proven one by mutual TLS. */
  peer: Peer | undefined;
  /** Said of it by authorization; for the log alone, callers are not told. */
  refusal: Refusal | undefined;

  /** Whether the caller is one of ours, and what it says about deadline and priority is believed. A gateway denies it to strangers. */
  isCallerTrusted = true;
  /** Level at which it is shed, when its route says so; otherwise the caller may. */
  priority: string | undefined;
  /** Clock reading (ms) at which nobody waits for the response to start any more; with a body that was awaited, as `responseLimit` last corrected it. */
  deadlineAt: number | undefined;
  /** Clock reading (ms) at which the caller, believed, has said that it stops waiting. */
  callerGivesUpAt: number | undefined;

  /** Name of the matched route and upstream, and `host:port` of the last endpoint that was tried. */
  route: string | undefined;
  upstream: string | undefined;
  endpoint: string | undefined;
  /** Endpoints that were tried, so that a retry can choose another. */
  readonly tried: string[] = [];
  /** What keeps the client on its endpoint from now on, when this answer is the first to tell it so. */
  stickyKey: string | undefined;
  /** Attempts that were sent upstream; 0 when the proxy answered by itself. */
  attempts = 0;
  /** The last outcome would have been tried again, but all attempts had been made: Envoy's flag URX. */
  retriesExhausted = false;
  /** The last outcome would have been tried again, but neither budget nor `maxRetries` left room: Envoy's flag UO. */
  isRetryRefused = false;

  /** Of a call of gRPC: its status, once it is known, and when its deadline is (clock reading, ms). */
  grpcStatus: number | undefined;
  grpcDeadline: { readonly expiresAt: number } | undefined;

  /** Code of the error that this proxy answered with, or that broke the response off. */
  errorCode: ErrorCode | undefined;
  /** Of an error that blames the upstream: what happened underneath; for the log alone, callers are not told. */
  reason: string | undefined;
  /** A response flag of the access log beside the error's own: what was done to a request that may have gone well. */
  flags: string | undefined;
  /** Status the client got; 0 when it left before the answer. */
  status = 0;
  requestBytes = 0;
  responseBytes = 0;
  /** Clock readings (ms): response head received from upstream, last byte handed to the client. */
  respondedAt: number | undefined;
  finishedAt: number | undefined;

  /** What gives the exchange up when its answer does not start in time. */
  responseLimit: ResponseLimit | undefined;

  /** What policies add to the fields of the answer, whoever makes it, also to those of an error (`RateLimit`, say). */
  readonly responseFields: ((headers: Headers) => void)[] = [];

  /** Passes an interim response (1xx) of the upstream on to the client; set by listeners that can. */
  inform: ((status: number, headers: Headers) => void) | undefined;

  /** Puts the numbers of bytes down once they are final, before those who measure look at them; for exchanges that are not counted as they go. */
  countBytes: (() => void) | undefined;

  /** Layers that measure are few: their callbacks need no list. */
  #first: FinishCallback | undefined;
  #second: FinishCallback | undefined;
  #third: FinishCallback | undefined;
  #fourth: FinishCallback | undefined;
  #others: FinishCallback[] | undefined;

  constructor(
    /** Which of the process's listeners took it: `edge`, `inbound`, `outbound`. */
    readonly listener: string,
    /** Address of the client: the connection's, or what a trusted proxy in front says. */
    public clientAddress: string,
    /** Clock reading (ms) when the first byte of the request was seen. */
    readonly startedAt: number,
  ) {}

  /**
   * Runs when the response was sent whole or broken off; once, and at once where that has happened: its client may leave while a layer
   * waits for something. A layer passes the same function for every exchange: what it needs is on the exchange.
   */
  onFinish(callback: FinishCallback): void {
    if (this.finishedAt !== undefined) callback(this);
    else if (this.#first === undefined) this.#first = callback;
    else if (this.#second === undefined) this.#second = callback;
    else if (this.#third === undefined) this.#third = callback;
    else if (this.#fourth === undefined) this.#fourth = callback;
    else (this.#others ??= []).push(callback);
  }

  /** Called by the listener, and by nobody else. */
  finish(now: number): void {
    if (this.finishedAt !== undefined) return;
    this.finishedAt = now;
    this.countBytes?.();
    this.#first?.(this);
    this.#second?.(this);
    this.#third?.(this);
    this.#fourth?.(this);
    if (this.#others !== undefined) for (const callback of this.#others) callback(this);
  }
}
