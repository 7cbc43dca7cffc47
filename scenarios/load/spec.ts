/** One kind of request in a mix. */
export interface TrafficClass {
  readonly name: string;
  /** Requests a second. */
  readonly rate: number;
  readonly method?: 'GET' | 'POST';
  /** Base addresses, taken in turn: a client that knows every instance. */
  readonly targets: readonly string[];
  readonly path: string;
  /** HTTP without it. `grpc`: the price of `path`, by one client that is told every target. `redis`: the value of the key `path`, at the first target. */
  readonly protocol?: 'grpc' | 'redis';
  /** One of these sets of fields is chosen for each request. */
  readonly headers?: readonly Readonly<Record<string, string>>[];
  readonly body?: string;
  /** The client closes its connection when it has waited this long (ms); counted as the error `left`. */
  readonly leaveAfterMs?: number;
}

/** A load: every class at its own constant rate, for a time. */
export interface LoadSpec {
  readonly durationMs: number;
  /** Runs before measuring; nothing of it is counted. */
  readonly warmupMs: number;
  readonly classes: readonly TrafficClass[];
  readonly seed: number;
  /** Requests in flight at a time; beyond it they are dropped, and counted as dropped. */
  readonly maxInFlight?: number;
  readonly timeoutMs?: number;
}

export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
  readonly mean: number;
}

export interface ClassResult {
  readonly name: string;
  /** Requests whose time came, that were sent, that got an answer below 400. */
  readonly offered: number;
  readonly sent: number;
  readonly succeeded: number;
  /** Not sent, since too many were in flight. */
  readonly dropped: number;
  /** Answers a second that came within the measured time, and those of them below 400. By when they came: what was asked for in the warm-up counts, what comes later does not. */
  readonly achievedRate: number;
  readonly succeededRate: number;
  readonly statuses: Readonly<Record<string, number>>;
  /** Failures without an answer, by kind. */
  readonly errors: Readonly<Record<string, number>>;
  /** Milliseconds from the intended time of sending, of all answers and of those below 400. */
  readonly latency: Latency;
  readonly successLatency: Latency;
}

/** What happened in one quarter of a second, by the intended time of sending. */
export interface Slice {
  readonly atMs: number;
  offered: number;
  succeeded: number;
  failed: number;
  maxMs: number;
}

export interface LoadResult {
  readonly offeredRate: number;
  readonly achievedRate: number;
  readonly durationMs: number;
  /** How much later than intended requests were sent (ms). It is part of every latency, and is the machine’s, not the system’s. */
  readonly lateness: Latency;
  readonly classes: readonly ClassResult[];
  readonly all: ClassResult;
  readonly slices: readonly Slice[];
}

export const sliceMs = 250;
