import { connect, type Socket } from 'node:net';

/** Types of frames (RFC 9113 section 6). */
export const frameType = { data: 0, headers: 1, priority: 2, reset: 3, settings: 4, push: 5, ping: 6, goaway: 7, windowUpdate: 8, continuation: 9 } as const;
export const flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;
export const preface = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

export function frame(type: number, flags: number, stream: number, payload: Buffer | string = ''): Buffer {
  const data = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(data.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, data]);
}

/** A field block without compression: every field a literal that is not indexed (RFC 7541 section 6.2.2). */
export function fieldBlock(fields: readonly (readonly [name: string, value: string])[]): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.from([0]), text(name), text(value)]));
}

function text(value: string): Buffer {
  const bytes = Buffer.from(value, 'latin1');
  if (bytes.length < 127) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const length = [127];
  let rest = bytes.length - 127;
  for (; rest > 127; rest >>= 7) length.push((rest & 127) | 128);
  return Buffer.concat([Buffer.from([...length, rest]), bytes]);
}

/** The fields of a request for `/`, or what `changes` make of it: undefined takes a field away. */
export function requestFields(changes: Readonly<Record<string, string | undefined>> = {}): [string, string][] {
  const fields: Record<string, string | undefined> = { ':method': 'GET', ':scheme': 'http', ':path': '/', ':authority': 'shop', ...changes };
  return Object.entries(fields).filter((entry): entry is [string, string] => entry[1] !== undefined);
}

export const headers = (stream: number, fields: readonly (readonly [string, string])[], flags: number = flag.endStream | flag.endHeaders): Buffer => frame(frameType.headers, flags, stream, fieldBlock(fields));

/** Either side of HTTP/2, made of frames: it sends what the test says, acknowledges nothing by itself, and keeps what comes. */
export class FramePeer {
  readonly frames: Frame[] = [];
  #closed = false;
  #rest: Buffer = Buffer.alloc(0);
  #wake: (() => void) | undefined;
  #skip: number;

  constructor(
    readonly socket: Socket,
    isServer = false,
  ) {
    this.#skip = isServer ? preface.length : 0;
    socket.on('data', (data) => {
      this.#rest = Buffer.concat([this.#rest, data]);
      this.#take();
      this.#wake?.();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Connects, and sends the preface and empty SETTINGS. */
  static async connect(port: number): Promise<FramePeer> {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new FramePeer(socket).send(preface, frame(frameType.settings, 0, 0));
  }

  send(...frames: readonly Buffer[]): this {
    this.socket.write(Buffer.concat(frames));
    return this;
  }

  /** Resolves with the first frame that fits, once it is there; rejects when the connection closes first. */
  async until(fits: (frame: Frame) => boolean): Promise<Frame> {
    for (;;) {
      const found = this.frames.find(fits);
      if (found !== undefined) return found;
      if (this.#closed) throw new Error(`the connection was closed after frames of types ${this.frames.map(({ type }) => type).join(', ')}`);
      await this.#change();
    }
  }

  async untilClosed(): Promise<void> {
    while (!this.isClosed) await this.#change();
  }

  close(): void {
    this.socket.destroy();
  }

  #take(): void {
    if (this.#skip > 0) {
      const skipped = Math.min(this.#skip, this.#rest.length);
      this.#skip -= skipped;
      this.#rest = this.#rest.subarray(skipped);
    }
    while (this.#rest.length >= 9) {
      const end = 9 + this.#rest.readUIntBE(0, 3);
      if (this.#rest.length < end) return;
      this.frames.push({ type: this.#rest[3]!, flags: this.#rest[4]!, stream: this.#rest.readUInt32BE(5) & 0x7fffffff, payload: this.#rest.subarray(9, end) });
      this.#rest = this.#rest.subarray(end);
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = undefined;
        resolve();
      };
    });
  }
}
