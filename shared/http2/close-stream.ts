import type { Http2Stream } from 'node:http2';

/**
 * Resets a stream, unless it is closed by then, once what the peer has sent was dealt with. From within that, Node 26 keeps asking a stream
 * that it has given up for its trailers, and aborts the process (`Http2Stream::OnTrailers(): Assertion failed: !this->is_destroyed()`).
 */
export function closeStream(stream: Http2Stream, code: number): void {
  setImmediate(() => {
    if (!stream.closed && !stream.destroyed) stream.close(code);
  });
}
