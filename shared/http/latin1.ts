import { Buffer } from 'node:buffer';
import { uncurried } from './uncurried.js';

/*
 * The direct forms of `buffer.toString('latin1', …)`, `buffer.toString('hex', …)` and `buffer.write(…, 'latin1')`; Node has had them
 * since version 1. The prototype of buffers has so many properties that V8 keeps it as a dictionary, and looks for a method in it at each
 * call. So they are taken out of it once.
 */

interface DirectForms {
  readonly latin1Slice: (this: Buffer, start: number, end: number) => string;
  readonly hexSlice: (this: Buffer, start: number, end: number) => string;
  readonly latin1Write: (this: Buffer, text: string, offset: number, length: number) => number;
}

const { latin1Slice, hexSlice, latin1Write } = Buffer.prototype as unknown as DirectForms;

/** `data[start, end)` as text, a character for each byte. */
export const latin1Text: (data: Buffer, start: number, end: number) => string = uncurried(latin1Slice);

/** `data[start, end)` in lower-case hexadecimal digits. */
export const hexText: (data: Buffer, start: number, end: number) => string = uncurried(hexSlice);

/** Writes `text`, of characters up to U+00FF, into `memory` from `offset` on, and no more than `length` of it. */
export const writeLatin1: (memory: Buffer, text: string, offset: number, length: number) => number = uncurried(latin1Write);
