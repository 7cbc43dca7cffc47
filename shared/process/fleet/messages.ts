import type { MetricObject } from 'prom-client';
import type { AddressInfo } from 'node:net';
import type { DrainOptions } from '../../listener/listener.js';
import type { Counted } from '../../policy/rate-limit/quota-windows.js';
import type { UpstreamDescription } from '../../upstream/upstream-set.js';
import type { Seat } from './share.js';

/**
 * A worker has the front's stdout and stderr at descriptors of its own. Whether writing to a descriptor waits is a property of the open file, which all of
 * them share; Node has it wait again, in all of them, whenever it starts a process with it as descriptor 0, 1 or 2, and when that process ends. At 2 is a
 * pipe to the front, for what Node itself has to say.
 */
export const workerStdio = ['ignore', 'ignore', 'pipe', 'ipc', 1, 2];
/** Where those two are in a worker. */
export const workerOutput = { stdout: 4, stderr: 5 } as const;

/** What the front asks of a worker. Everything that is passed is copied: it must be plain data. */
export interface WorkerFunctions {
  /** Answers that it is there. */
  ping(): void;
  create(assignment: Assignment): Promise<void>;
  listen(): Promise<Listening>;
  /** Builds a new version; what becomes of it is said next. */
  prepare(dynamic: unknown): Promise<void>;
  commit(): Promise<void>;
  /** Does nothing if nothing was prepared. */
  discard(): Promise<void>;
  /** Looks at the identity's files now. */
  refreshIdentity(): Promise<void>;
  upstreams(): UpstreamDescription[];
  collect(): Promise<Collected>;
  lastKnown(): LearnedValues;
  /** Finishes what is in flight, says farewell and exits. Answers when it takes no more connections. */
  drain(options?: DrainOptions): Promise<void>;
  /** Breaks off what is in flight, says farewell and exits. */
  breakOff(): void;
}

/** What a worker has learned, for those that come after it (see `LastKnown`). */
type LearnedValues = readonly (readonly [name: string, value: unknown])[];

/** What a worker has counted, and the endpoints that it has, each as JSON of its upstream and its address; undefined before it is created. */
export interface Collected {
  readonly metrics: MetricObject[];
  readonly endpoints: readonly string[] | undefined;
}

/** What a worker asks of the front. */
export interface FrontFunctions {
  /** The worker listens to its front. What was sent before may be lost. */
  hello(): void;
  /** Counts requests against quotas that hold for all workers together. */
  count(increments: readonly Increment[]): Counted[];
  /** The last a worker has to say before it exits in order. */
  farewell(metrics: MetricObject[]): void;
}

export interface Assignment {
  readonly config: unknown;
  readonly seat: Seat;
  /** Of which the keys of TLS session tickets are made: clients resume with whichever worker they reach. */
  readonly ticketSecret: Uint8Array;
  readonly lastKnown: LearnedValues;
}

/** The addresses taken, or why they could not be; an error that is passed between processes keeps its message alone. */
export type Listening = { readonly addresses: Readonly<Record<string, AddressInfo>> } | { readonly failure: ListenFailure };

export interface ListenFailure {
  readonly message: string;
  readonly code?: string | undefined;
  readonly address?: string | undefined;
  readonly port?: number | undefined;
}

export interface Increment {
  readonly scope: string;
  readonly key: string;
  readonly windowMs: number;
  readonly maxKeys: number;
}
