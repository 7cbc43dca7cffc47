import { Buffer } from 'node:buffer';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { getSystemErrorName } from 'node:util';
import type { WholeBody } from '../http/body.js';
import { writeLatin1 } from '../http/latin1.js';
import { uncurried } from '../http/uncurried.js';
import { ReadBuffer } from './read-buffer.js';

/*
 * A socket is a stream, and a stream keeps account of every write: an object for it, a callback, a tick. Nearly every message of a
 * proxy is short and taken by the kernel at once, and then there is nothing to keep account of. So such a message goes straight to the
 * handle below the stream, when the stream itself has nothing left to write; order is kept by the handle, and back pressure by the
 * stream, which gets whatever comes while the kernel does not take more. The handle's methods are what `net.Socket` calls itself; they
 * are looked for, not taken for granted, and without them everything goes through the stream as ever. docs/decisions/0006 has the figures.
 *
 * TLS takes one write at a time, and is done with it no sooner than the loop's next turn. Until then the stream is held: what it
 * is given meanwhile, its end too, reaches the handle when the write is done. (Only where Node wants a request for each write, as
 * version 20 does. Later ones may report a failure where only Node itself can see it, so there TLS is left to the stream.)
 */

/** What a write is known by while it lasts. Node 20 wants one for each write, and later versions make one where it does last. */
interface WriteRequest {
  /** Every request of Node's has it; -1 as long as it is not in use. */
  readonly getAsyncId?: (this: WriteRequest) => number;
  /** Kept as long as the write lasts: the kernel takes the rest from there. */
  buffer?: Uint8Array;
  oncomplete?: (status: number) => void;
}

/** 0, the code of an error, or what the write is known by (later versions). */
type Outcome = number | WriteRequest;

type TextWrite = [request: WriteRequest | null, text: string];
type BytesWrite = [request: WriteRequest | null, bytes: Uint8Array];

interface Handle {
  writeLatin1String?: (this: Handle, ...write: TextWrite) => Outcome;
  writeBuffer?: (this: Handle, ...write: BytesWrite) => Outcome;
  /** What the kernel has not taken yet (bytes). An accessor. */
  readonly writeQueueSize?: number;
}

/** Longer messages are worth an account, and are not copied. */
const maxDirectBytes = 16_384;

/** What to pass for a write; undefined until it is known. */
let makeRequest: (() => WriteRequest | null) | undefined;
/**
 * Whether one lasts. That nothing waits to be written says nothing of it: what the kernel took in two parts is done only when the loop says
 * so, and until then a second use of the request ends the process.
 */
let lasts: (request: WriteRequest) => boolean;
/** Node makes them itself, and says how a write ended in places that are not to be reached from here. */
let makesNoRequests = false;
/** Used again for as long as the kernel takes everything at once. */
let spare: WriteRequest | null | undefined;
let scratch = new ReadBuffer();

/** Writes messages to one socket: short ones past its stream where that changes nothing. */
export class SocketWriter {
  readonly #isTls: boolean;
  /** The handle and its methods, once they are known: sockets are of many shapes, and so slow to ask. */
  #handle: Handle | undefined;
  #writeText!: Methods['text'];
  #writeBytes!: Methods['bytes'];
  /** Of TLS, whose writes all last: two, in turn, since the one that is done is in use until its callback returns. */
  #usedRequest: WriteRequest | undefined;
  #restedRequest: WriteRequest | undefined;
  #isInCall = false;
  /** How a write ended that was over before the call returned. */
  #endedAtOnce: number | undefined;
  /** A message that went past the stream is not done: the kernel, or TLS, has not taken all of it. */
  #isPending = false;
  /** What the stream wants to do next, when that is done. */
  #held: Held | undefined;
  #resetBy: Error | undefined;
  #outlivesReset: boolean;

  /**
   * `outlivesReset`: a peer that stopped reading may have said why, and what it said is still to be read (RFC 9112 section 9.5). So
   * a write that its reset ends is merely never done; reading comes to the same end, and tells.
   */
  constructor(
    readonly socket: Socket,
    outlivesReset = false,
  ) {
    this.#isTls = socket instanceof TLSSocket;
    this.#outlivesReset = outlivesReset;
    if (this.#isTls || outlivesReset) this.#stepBetween(socket);
  }

  /** The failure of a write that was outlived: an end that is read now is none that the peer meant. */
  get resetBy(): Error | undefined {
    return this.#resetBy;
  }

  /** From now on a write that a reset ends is the end of the socket: what the peer has left to say is not waited for. */
  endWithReset(): void {
    this.#outlivesReset = false;
  }

  /** Something that was written is not with the kernel yet. */
  get hasUnsent(): boolean {
    return this.#isPending || this.socket.writableLength > 0;
  }

  /** Writes a head, or anything else in Latin-1. `false`: the socket's buffer is full. */
  text(text: string): boolean {
    const { length } = text;
    const handle = length <= maxDirectBytes ? this.#free() : undefined;
    if (handle === undefined) return this.socket.write(text, 'latin1');
    // TLS would allocate memory for a text, and needs none for bytes: it encrypts them before it returns.
    if (this.#isTls) {
      writeLatin1(scratch.memory, text, 0, length);
      return this.#bytes(handle, scratch.view(length));
    }
    const request = (spare ??= makeRequest!());
    return this.#written(this.#writeText(handle, request, text), request, undefined);
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
    const handle = this.#free();
    // One buffer, one write: copying a small body costs less than a second entry in writev.
    const memory = handle === undefined ? Buffer.allocUnsafe(all) : scratch.view(all);
    writeLatin1(memory, head, 0, head.length);
    memory.set(bytes, head.length);
    return handle === undefined ? this.socket.write(memory) : this.#bytes(handle, memory);
  }

  #twoParts(head: string, bytes: Buffer): boolean {
    this.socket.cork();
    this.socket.write(head, 'latin1');
    const wantsMore = this.socket.write(bytes);
    this.socket.uncork();
    return wantsMore;
  }

  /** The handle, where a message may go to it: the stream is open, and has nothing to write before. */
  #free(): Handle | undefined {
    const { socket } = this;
    if (this.#isPending || socket.writableLength !== 0 || !socket.writable || (this.#isTls && makesNoRequests)) return undefined;
    return this.#handle ?? this.#find();
  }

  /** An open socket keeps the handle that it was connected with. */
  #find(): Handle | undefined {
    const { socket } = this;
    const { _handle: handle } = socket as unknown as { readonly _handle: Handle | null };
    if (handle === null || socket.connecting) return undefined;
    if (makeRequest === undefined) {
      learnFrom(handle);
      return undefined;
    }
    const methods = methodsOf(handle);
    if (methods === undefined) return undefined;
    this.#writeText = methods.text;
    this.#writeBytes = methods.bytes;
    return (this.#handle = handle);
  }

  #bytes(handle: Handle, memory: Buffer): boolean {
    if (this.#isTls) return this.#encrypted(handle, memory);
    const request = (spare ??= makeRequest!());
    return this.#written(this.#writeBytes(handle, request, memory), request, memory);
  }

  /** Through TLS a write is under way when the call returns, unless it has failed. It may say so from within the call. */
  #encrypted(handle: Handle, memory: Buffer): boolean {
    this.#isPending = true;
    this.#endedAtOnce = undefined;
    this.#isInCall = true;
    const outcome = this.#writeBytes(handle, this.#nextRequest(), memory) as number;
    this.#isInCall = false;
    const status = outcome === 0 ? this.#endedAtOnce : outcome;
    if (status === undefined) return true;
    if (status < 0) {
      this.#fail(status);
      return false;
    }
    this.#isPending = false;
    return true;
  }

  #nextRequest(): WriteRequest {
    let next = this.#restedRequest;
    if (next === undefined) {
      next = makeRequest!()!;
      next.oncomplete = this.#onWritten;
    }
    this.#restedRequest = this.#usedRequest;
    this.#usedRequest = next;
    return next;
  }

  #written(outcome: Outcome, request: WriteRequest | null, memory: Buffer | undefined): boolean {
    if (outcome !== 0 && typeof outcome === 'number') {
      this.#fail(outcome);
      return false;
    }
    const pending = outcome !== 0 ? outcome : request !== null && lasts(request) ? request : undefined;
    if (pending !== undefined) {
      spare = undefined;
      if (memory !== undefined) {
        pending.buffer = memory;
        scratch = new ReadBuffer();
      }
      this.#isPending = true;
      pending.oncomplete = this.#onWritten;
    }
    return true;
  }

  readonly #onWritten = (status: number): void => {
    if (this.#isInCall) {
      this.#endedAtOnce = status;
      return;
    }
    if (status < 0) {
      this.#fail(status);
      return;
    }
    this.#isPending = false;
    const held = this.#held;
    this.#held = undefined;
    held?.go();
  };

  #fail(status: number): void {
    const code = getSystemErrorName(status);
    const error = Object.assign(new Error(`write ${code}`), { code, errno: status, syscall: 'write' });
    if (this.#outlives(error)) {
      this.#isPending = true;
      return;
    }
    this.#isPending = false;
    this.socket.destroy(error);
    const held = this.#held;
    this.#held = undefined;
    held?.done(error);
  }

  /** A stream does one thing at a time, and waits for it however long it takes: so that may wait for a write that went past it. */
  #stepBetween(socket: Socket): void {
    const [write, writev, final] = [socket._write.bind(socket), socket._writev?.bind(socket), socket._final.bind(socket)];
    socket._write = (chunk, encoding, streamDone) => {
      const done = this.#unlessReset(streamDone);
      if (this.#isPending) this.#held = { go: () => write(chunk, encoding, done), done };
      else write(chunk, encoding, done);
    };
    if (writev !== undefined) {
      socket._writev = (chunks, streamDone) => {
        const done = this.#unlessReset(streamDone);
        if (this.#isPending) this.#held = { go: () => writev(chunks, done), done };
        else writev(chunks, done);
      };
    }
    socket._final = (done) => {
      if (this.#isPending) this.#held = { go: () => final(done), done };
      else final(done);
    };
  }

  #unlessReset(done: Done): Done {
    if (!this.#outlivesReset) return done;
    return (error) => {
      if (error === undefined || error === null || !this.#outlives(error)) done(error);
    };
  }

  #outlives(error: NodeJS.ErrnoException): boolean {
    if (!this.#outlivesReset || this.socket.readableEnded || (error.code !== 'ECONNRESET' && error.code !== 'EPIPE')) return false;
    this.#resetBy = error;
    return true;
  }
}

/** What a kind of handle can do, each a function of the handle. */
interface Methods {
  readonly text: (handle: Handle, ...write: TextWrite) => Outcome;
  readonly bytes: (handle: Handle, ...write: BytesWrite) => Outcome;
}

/** By the native method: TCP and pipes have one, TLS has another. */
const known = new Map<unknown, Methods>();

function methodsOf(handle: Handle): Methods | undefined {
  const { writeLatin1String, writeBuffer } = handle;
  const methods = known.get(writeBuffer);
  if (methods !== undefined) return methods;
  if (writeLatin1String === undefined || writeBuffer === undefined) return undefined;
  const learnt = { text: uncurried(writeLatin1String), bytes: uncurried(writeBuffer) };
  known.set(writeBuffer, learnt);
  return learnt;
}

type Done = (error?: Error | null) => void;

interface Held {
  readonly go: () => void;
  readonly done: Done;
}

/** Sees the next write of a stream to its handle, to learn what such a request is made by. */
function learnFrom(handle: Handle): void {
  const { writeLatin1String, writeBuffer } = handle;
  if (typeof writeLatin1String !== 'function' || typeof writeBuffer !== 'function' || handle.writeQueueSize !== 0) return;
  const learn = (request: WriteRequest | null): void => {
    delete handle.writeLatin1String;
    delete handle.writeBuffer;
    if (request === null) {
      makesNoRequests = true;
      makeRequest = () => null;
    } else if (typeof request.getAsyncId === 'function') {
      const asyncIdOf = uncurried(request.getAsyncId);
      const Request = request.constructor as new () => WriteRequest;
      lasts = (made) => asyncIdOf(made) !== -1;
      makeRequest = () => new Request();
    }
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
