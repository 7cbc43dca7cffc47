import { Socket } from 'node:net';
import { ReadBuffer } from '../../http1/read-buffer.js';

/*
 * Node lets a socket that one opens read into memory of one's own (`onread`), but has no such option for those that a server
 * accepts; those allocate 64 KiB for each read. The mechanism is the same in both: two slots of the socket, and a method of its
 * handle. So it is set up here from outside. It is looked for, not taken for granted: where a version of Node has it no more, `data`
 * events go on as ever, and the only thing that is lost is time. docs/decisions/0006 has the figures.
 */

interface Internals {
  readonly _handle?: { readonly useUserBuffer?: (memory: Uint8Array) => void } | null;
  [slot: symbol]: unknown;
}

const slots = Object.getOwnPropertySymbols(new Socket());
const slot = (name: string): symbol | undefined => slots.find(({ description }) => description === name);
const bufferSlot = slot('kBuffer');
const callbackSlot = slot('kBufferCb');

const reads = new ReadBuffer();

/**
 * Has an accepted socket read into memory that is shared, and `receive` called with what was read, which is only lent, once as
 * bytes and once to be read several at a time. Bytes that
 * the socket took before, or is given back, still come as `data` events. False where this cannot be had.
 */
export function lendReads(socket: Socket, receive: (data: Buffer, words: DataView) => void): boolean {
  const internals = socket as unknown as Internals;
  if (bufferSlot === undefined || callbackSlot === undefined || typeof internals._handle?.useUserBuffer !== 'function') return false;
  internals[bufferSlot] = reads.memory;
  internals[callbackSlot] = (length: number): boolean => {
    receive(reads.view(length), reads.words);
    return true;
  };
  internals._handle.useUserBuffer(reads.memory);
  return true;
}
