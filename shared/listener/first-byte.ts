import type { Socket } from 'node:net';

/** What every connection of TLS begins with: a record of type handshake (RFC 8446 section 5.1). No method of HTTP does. */
const handshakeRecord = 0x16;

/**
 * Waits for the first byte of a connection, which tells TLS from plaintext, and puts it back: whoever takes the paused socket over sees
 * the connection from its beginning. A connection that ends before it is closed. Returns what gives the waiting up, if it still goes on.
 */
export function awaitFirstByte(socket: Socket, decide: (isTls: boolean) => void): () => void {
  const stop = (): void => {
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.pause();
  };
  const onData = (data: Buffer): void => {
    stop();
    socket.unshift(data);
    decide(data[0] === handshakeRecord);
  };
  const onEnd = (): void => {
    socket.destroy();
  };
  socket.on('data', onData);
  socket.on('end', onEnd);
  // Whoever read a header in front of it has left it paused, which a listener for data does not end.
  socket.resume();
  return stop;
}
