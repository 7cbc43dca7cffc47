import { Agent, request } from 'node:http';
import { connect, type Socket } from 'node:net';

/*
 * A thousand proxies, as far as a control plane sees them: each opens its stream, reads snapshots, answers them, and comes back with
 * full-jitter backoff, as shared/control/snapshot-client.ts does. Some read slowly, some not at all.
 *
 * Started by fork; told what to do in its argument, and by messages.
 */

export interface ReadersPlan {
  readonly port: number;
  readonly healthy: number;
  readonly slow: number;
  readonly dead: number;
  readonly services: number;
}

/** What it is told: to watch for a text that the next snapshots carry. */
interface Watch {
  readonly text: string;
}

/** What it says. Times are of the machine's monotonic clock (ms). */
export type ReadersReport =
  | { readonly kind: 'connected'; readonly at: readonly number[]; readonly attempts: number }
  | { readonly kind: 'received'; readonly at: readonly number[] };

const now = (): number => Number(process.hrtime.bigint()) / 1e6;
const plan = JSON.parse(process.argv[2]!) as ReadersPlan;
const answers = new Agent({ keepAlive: true, maxSockets: 16 });
/** The end of what was read, in which a text may begin. */
const carriedBytes = 64;
const versionMark = Buffer.from('\nid: ');

let watched = Buffer.from('\0');
let received: number[] = [];
let connected: number[] = [];
let attempts = 0;

const say = (report: ReadersReport): void => void process.send!(report);

class Reader {
  #failures = 0;
  #tail = Buffer.alloc(0);
  #version: string | undefined;
  #isDone = true;

  constructor(
    private readonly index: number,
    private readonly manner: 'healthy' | 'slow' | 'dead',
  ) {}

  arm(): void {
    this.#isDone = false;
    this.#tail = Buffer.alloc(0);
  }

  open(): void {
    attempts++;
    const socket = connect(plan.port, '127.0.0.1');
    socket.on('error', () => {});
    socket.on('connect', () => {
      const has = this.#version === undefined ? '' : `Last-Event-ID: ${this.#version}\r\n`;
      socket.write(`GET /v1/proxies/${this.manner}-${this.index}/stream?kind=sidecar&service=s-${this.index % plan.services}&identity=false HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n${has}\r\n`);
    });
    socket.once('data', () => {
      this.#failures = 0;
      if (this.manner !== 'healthy') return;
      connected.push(now());
      if (connected.length < plan.healthy) return;
      say({ kind: 'connected', at: connected, attempts });
      connected = [];
      attempts = 0;
    });
    socket.on('close', () => setTimeout(() => this.open(), Math.max(10, Math.random() * Math.min(5_000, 500 * 2 ** Math.min(this.#failures++, 10)))));
    this.#read(socket);
  }

  #read(socket: Socket): void {
    if (this.manner === 'healthy') {
      socket.on('data', (chunk) => this.#take(chunk));
      return;
    }
    // After the head it takes nothing, or a little now and then.
    socket.once('data', () => socket.pause());
    if (this.manner === 'dead') return;
    const timer = setInterval(() => void (socket.read(4_096) as Buffer | null), 100);
    socket.on('close', () => clearInterval(timer));
  }

  #take(chunk: Buffer): void {
    const mark = chunk.lastIndexOf(versionMark);
    if (mark !== -1) {
      this.#version = chunk.toString('latin1', mark + versionMark.length, mark + versionMark.length + 16);
      this.#answer(this.#version);
    }
    if (this.#isDone) return;
    const text = this.#tail.length === 0 ? chunk : Buffer.concat([this.#tail, chunk.subarray(0, carriedBytes)]);
    if (text.includes(watched) || (text !== chunk && chunk.includes(watched))) {
      this.#isDone = true;
      received.push(now());
      if (received.length === plan.healthy) say({ kind: 'received', at: received });
      return;
    }
    this.#tail = Buffer.from(chunk.subarray(-carriedBytes));
  }

  #answer(version: string): void {
    const outgoing = request({ host: '127.0.0.1', port: plan.port, path: `/v1/proxies/${this.manner}-${this.index}/status`, method: 'POST', agent: answers, headers: { 'content-type': 'application/json' } }, (response) => response.resume());
    outgoing.on('error', () => {});
    outgoing.end(JSON.stringify({ version, accepted: true }));
  }
}

const readers = (['healthy', 'slow', 'dead'] as const).flatMap((manner) => Array.from({ length: plan[manner] }, (_, index) => new Reader(index, manner)));
process.on('message', ({ text }: Watch) => {
  watched = Buffer.from(text);
  received = [];
  for (const reader of readers) reader.arm();
});
process.on('disconnect', () => process.exit());
for (const reader of readers) reader.open();
