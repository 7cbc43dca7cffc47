import type { FastifyReply } from 'fastify';
import { constants, type Http2ServerResponse, type OutgoingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { breakOff as reset } from '../../http/break-off.js';
import type { Headers } from '../../http/headers.js';
import { writeFields } from '../../http2/fields.js';

/** The stream that a reply goes out on, in HTTP/2. */
export function streamOf(reply: FastifyReply): ServerHttp2Stream | undefined {
  return (reply.raw as unknown as Partial<Http2ServerResponse>).stream;
}

/** Whether the client has left. A response of HTTP/2 has no `destroyed`, its stream has; the plugin asks for `aborted`. */
export function isGone(reply: FastifyReply): boolean {
  const stream = streamOf(reply);
  const { aborted, socket } = reply.request.raw as { readonly aborted: boolean; readonly socket: Socket };
  return aborted || (stream === undefined ? reply.raw.destroyed || socket.destroyed : stream.closed || stream.destroyed);
}

/** What is still to be told that its connection has closed, by the connection. */
const carriedBy = new WeakMap<Socket, Set<() => void>>();

/**
 * Calls back once when a reply is over, sent or not. Node's response is silent on a stream of HTTP/2 that is left before a HEAD is answered,
 * and in a pipeline, where only the first of it knows the socket: there the stream or the connection tells.
 */
export function onceOver(reply: FastifyReply, callback: () => void): void {
  const stream = streamOf(reply);
  if (stream !== undefined) {
    stream.once('close', callback);
    return;
  }
  const carried = carriedOn(reply.request.raw.socket);
  const over = (): void => {
    if (carried.delete(over)) callback();
  };
  carried.add(over);
  reply.raw.once('close', over);
}

/** However much a connection carries, one listener hears of its end. */
function carriedOn(socket: Socket): Set<() => void> {
  const known = carriedBy.get(socket);
  if (known !== undefined) return known;
  const carried = new Set<() => void>();
  carriedBy.set(socket, carried);
  socket.once('close', () => {
    for (const over of carried) over();
  });
  return carried;
}

/** Whether a reply that is closed went out whole. Node ends a stream of HTTP/2 that the client resets, and calls it finished. */
export function isSent(reply: FastifyReply): boolean {
  const stream = streamOf(reply);
  return stream === undefined ? reply.raw.writableFinished : reply.raw.writableEnded && stream.rstCode === constants.NGHTTP2_NO_ERROR;
}

/** How much of a reply waits for its client (bytes); one whose end was not taken waits too: the session of HTTP/2 may have died without a word. */
export function unsentOf(reply: FastifyReply): number {
  const stream = streamOf(reply);
  if (stream !== undefined) return stream.writableLength + (stream.headersSent && stream.writableEnded ? 1 : 0);
  // In a pipeline it waits for the one before it.
  return reply.raw.socket === null ? 0 : reply.raw.writableLength;
}

/** Breaks a reply off so that its client sees it: without a code, a stream of HTTP/2 would look as if it had ended well. */
export function breakOff(reply: FastifyReply): void {
  const stream = streamOf(reply);
  const { raw } = reply;
  if (stream !== undefined) stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  else if (endsWithConnection(raw)) reset(raw.socket!);
  else raw.destroy();
}

/** Ends a reply of which its client takes nothing. Of a session that has died, no reset goes out that would end the stream. */
export function cutOff(reply: FastifyReply): void {
  const stream = streamOf(reply);
  if (stream === undefined) {
    if (reply.raw.socket !== null) reset(reply.raw.socket);
    return;
  }
  stream.close(stream.writableFinished ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
  stream.destroy();
}

export function writeHints(reply: FastifyReply, headers: Headers): void {
  const stream = streamOf(reply);
  try {
    if (stream === undefined) reply.raw.writeEarlyHints(writeFields(headers, {}) as Record<string, string | string[]>);
    else stream.additionalHeaders(writeFields(headers, { ':status': 103 }));
  } catch {
    // Node is particular about `Link`, and about streams that are on their way out. A hint may stay out; the answer may not.
  }
}

/** Type and subtype (RFC 9110 section 8.3.1). */
const mediaType = /^[\w!#$%&'*+.^`|~-]+\/[\w!#$%&'*+.^`|~-]+\s*(?:;|$)/;

/** Whether Fastify can make anything of what these fields say of the type. */
export function hasMediaType(headers: OutgoingHttpHeaders): boolean {
  return typeof headers['content-type'] === 'string' && mediaType.test(headers['content-type']);
}

/** Whether the end of the connection is the only end that the answer has, so that one that is broken off would look whole. */
function endsWithConnection(raw: FastifyReply['raw']): boolean {
  return raw.headersSent && raw.socket !== null && !raw.hasHeader('content-length') && !(raw as { chunkedEncoding?: boolean }).chunkedEncoding;
}
