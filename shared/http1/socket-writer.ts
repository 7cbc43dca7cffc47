import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { getSystemErrorName } from 'node:util';
import type { WholeBody } from '../http/body.js';
import { ReadBuffer } from './read-buffer.js';

/*
 * A socket is a stream, and a stream keeps account of every write: an object for it, a callback, a tick. Nearly every message of a
 * proxy is short and taken by the kernel at once, and then there is nothing to keep account of. So such a message goes straight to the
 * handle below the stream, when the stream itself has nothing left to write; order is kept by the handle, and back pressure by the
 * stream, which gets whatever comes while the kernel does not take more. The handle's methods are what `net.Socket` calls itself; they
 * are looked for, not taken for granted, and without them everything goes through the stream as ever. docs/decisions/0006 has the figures.
 */

/** What a write is known by while it lasts. Node 20 wants one for each write, and later versions make one where it does last. */
interface WriteRequest {
  /** Kept as long as the write lasts: the kernel takes the rest from there. */
  buffer?: Uint8Array;
  oncomplete?: (status: number) => void;
}

/** 0, the code of an error, or what the write is known by (later versions). */
type Outcome = number | WriteRequest;

interface Handle {
  writeLatin1String?: (this: Handle, request: WriteRequest | null, text: string) => Outcome;
  writeBuffer?: (this: Handle, request: WriteRequest | null, bytes: Uint8Array) => Outcome;
  /** What the kernel has not taken yet (bytes). */
  readonly writeQueueSize?: number;
}

/** Longer messages are worth an account, and are not copied. */
const maxDirectBytes = 16_384;

/** What to pass for a write; undefined until it is known. */
let makeRequest: (() => WriteRequest | null) | undefined;
/** Used again for as long as the kernel takes everything at once. */
let spare: WriteRequest | null | undefined;
let scratch = new ReadBuffer();

/** Writes messages to one socket: plain ones past its stream where that changes nothing. */
export class SocketWriter {
  readonly #mayBeDirect: boolean;
  /** The kernel has not taken all of a message that went past the stream. */
  #isPending = false;

  constructor(readonly socket: Socket) {
    // What TLS does with a write is never done at once.
    this.#mayBeDirect = !(socket instanceof TLSSocket);
  }

  /** Something that was written is not with the kernel yet. */
  get hasUnsent(): boolean {
    return this.#isPending || this.socket.writableLength > 0;
  }

  /** Writes a head, or anything else in Latin-1. `false`: the socket's buffer is full. */
  text(text: string): boolean {
    const handle = text.length <= maxDirectBytes ? this.#handle() : undefined;
    if (handle === undefined) return this.socket.write(text, 'latin1');
    const request = (spare ??= makeRequest!());
    return this.#written(handle, handle.writeLatin1String!(request, text), request, undefined);
  }

  /** Writes a head and a body that is whole. `false`: the socket's buffer is full. */
  whole(head: string, body: WholeBody): boolean {
    return body.text === undefined ? this.message(head, body.bytes) : this.text(head + body.text);
  }

  /** Writes a head and the bytes behind it at once. `false`: the socket's buffer is full. */
  message(head: string, bytes: Buffer): boolean {
    const { length } = bytes;
    if (length === 0) return this.text(head);
    const all = head.length + length;
    if (all > maxDirectBytes) return this.#twoParts(head, bytes);
    const handle = this.#handle();
    // One buffer, one write: copying a small body costs less than a second entry in writev.
    const memory = handle === undefined ? Buffer.allocUnsafe(all) : scratch.view(all);
    memory.latin1Write(head, 0, head.length);
    memory.set(bytes, head.length);
    if (handle === undefined) return this.socket.write(memory);
    const request = (spare ??= makeRequest!());
    return this.#written(handle, handle.writeBuffer!(request, memory), request, memory);
  }

  #twoParts(head: string, bytes: Buffer): boolean {
    this.socket.cork();
    this.socket.write(head, 'latin1');
    const wantsMore = this.socket.write(bytes);
    this.socket.uncork();
    return wantsMore;
  }

  /** The handle, where a message may go to it: the stream is open, and has nothing to write before. */
  #handle(): Handle | undefined {
    const { socket } = this;
    if (!this.#mayBeDirect || this.#isPending || socket.writableLength !== 0 || !socket.writable || socket.connecting) return undefined;
    const handle = (socket as unknown as { readonly _handle: Handle | null })._handle;
    if (handle === null) return undefined;
    if (makeRequest !== undefined) return handle;
    learnFrom(handle);
    return undefined;
  }

  #written(handle: Handle, outcome: Outcome, request: WriteRequest | null, memory: Buffer | undefined): boolean {
    if (outcome !== 0 && typeof outcome === 'number') {
      this.#fail(outcome);
      return false;
    }
    const pending = outcome === 0 ? request : outcome;
    if (pending !== null && handle.writeQueueSize !== 0) {
      spare = undefined;
      if (memory !== undefined) {
        pending.buffer = memory;
        scratch = new ReadBuffer();
      }
      this.#isPending = true;
      pending.oncomplete = (status) => {
        this.#isPending = false;
        if (status < 0) this.#fail(status);
      };
    }
    return true;
  }

  #fail(status: number): void {
    const code = getSystemErrorName(status);
    this.socket.destroy(Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' }));
  }
}

/** Sees the next write of a stream to its handle, to learn what such a request is made by. */
function learnFrom(handle: Handle): void {
  const { writeLatin1String, writeBuffer } = handle;
  if (typeof writeLatin1String !== 'function' || typeof writeBuffer !== 'function' || handle.writeQueueSize !== 0) return;
  const learn = (request: WriteRequest | null): void => {
    delete handle.writeLatin1String;
    delete handle.writeBuffer;
    const Request = request?.constructor as (new () => WriteRequest) | undefined;
    makeRequest = Request === undefined ? () => null : () => new Request();
  };
  handle.writeLatin1String = (request, text) => {
    learn(request);
    return writeLatin1String.call(handle, request, text);
  };
  handle.writeBuffer = (request, bytes) => {
    learn(request);
    return writeBuffer.call(handle, request, bytes);
  };
}
