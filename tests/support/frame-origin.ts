import type { Socket } from 'node:net';
import { fieldBlock, flag, frame, FramePeer, frameType } from './http2-frames.js';
import { tcpOrigin, type Origin } from './origin.js';

export interface FrameOrigin extends Origin {
  /** Its connections, oldest first. */
  readonly peers: FramePeer[];
}

export const settings = (...entries: readonly (readonly [id: number, value: number])[]): Buffer =>
  frame(frameType.settings, 0, 0, Buffer.concat(entries.map(([id, value]) => {
    const entry = Buffer.alloc(6);
    entry.writeUInt16BE(id);
    entry.writeUInt32BE(value, 2);
    return entry;
  })));
/** SETTINGS that allow so many streams at a time. */
export const allowing = (streams: number): Buffer => settings([3, streams]);
export const reset = (stream: number, code: number): Buffer => frame(frameType.reset, 0, stream, Buffer.from([0, 0, 0, code]));
export const goaway = (last: number, code = 0): Buffer => frame(frameType.goaway, 0, 0, Buffer.from([0, 0, 0, last, 0, 0, 0, code]));
export const ok = fieldBlock([[':status', '200']]);
export const answer = (stream: number, text = 'ok'): Buffer => Buffer.concat([frame(frameType.headers, flag.endHeaders, stream, ok), frame(frameType.data, flag.endStream, stream, text)]);

/**
 * An endpoint made of frames: `play` sees each HEADERS frame, with the number of its connection and of the request in all. A connection
 * for which `hello` has nothing is reset.
 */
export async function frameOrigin(
  play: (peer: FramePeer, stream: number, connection: number, request: number) => void,
  hello: readonly Buffer[] | ((connection: number) => readonly Buffer[] | undefined) = [settings()],
  options: { readonly allowHalfOpen?: boolean } = {},
): Promise<FrameOrigin> {
  const peers: FramePeer[] = [];
  let requests = 0;
  const origin = await tcpOrigin((socket: Socket) => {
    const peer = new FramePeer(socket, true);
    const connection = peers.push(peer);
    const first = typeof hello === 'function' ? hello(connection) : hello;
    if (first === undefined) socket.resetAndDestroy();
    else peer.send(...first);
    let seen = 0;
    socket.on('data', () => {
      for (; seen < peer.frames.length; seen++) if (peer.frames[seen]!.type === frameType.headers) play(peer, peer.frames[seen]!.stream, connection, ++requests);
    });
  }, options);
  return { ...origin, peers };
}
