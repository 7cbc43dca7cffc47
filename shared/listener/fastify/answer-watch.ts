import type { ServerResponse } from 'node:http';
import { constants, type Http2ServerResponse, type ServerHttp2Stream } from 'node:http2';
import type { Clock } from '../../clock/clock.js';
import type { Sweepable } from '../../clock/deadline-sweep.js';
import { ProxyError } from '../../errors/proxy-error.js';

/** How often within its time an answer is looked at. */
const looks = 4;

/**
 * Cuts an answer off of which its client has taken nothing for `writeTimeout`. Node says when a stream has drained, and how much waits; less
 * than there was, or none, is progress. It costs nothing while the answer moves, but a look now and then, and so is late by a quarter at most.
 *
 * With HTTP/2 this is also what ends an exchange whose session has died without a word: after an error of the connection Node's library neither
 * reads nor writes, and nobody hears that the client has closed.
 */
export class AnswerWatch implements Sweepable {
  deadline: number;
  #waiting = 0;
  #movedAt: number;

  constructor(
    private readonly response: ServerResponse | Http2ServerResponse,
    private readonly clock: Clock,
    private readonly writeTimeout: number,
  ) {
    this.#movedAt = clock.now();
    this.deadline = this.#next(this.#movedAt);
    response.on('drain', () => (this.#movedAt = clock.now()));
  }

  onDeadline(): void {
    const now = this.clock.now();
    const waiting = waitingOf(this.response);
    if (waiting === 0 || waiting < this.#waiting) this.#movedAt = now;
    this.#waiting = waiting;
    if (now - this.#movedAt < this.writeTimeout) {
      this.deadline = this.#next(now);
      return;
    }
    cut(this.response);
  }

  #next(now: number): number {
    return Math.min(now + this.writeTimeout / looks, this.#movedAt + this.writeTimeout);
  }
}

/** How much of an answer waits for its client; one whose end has not been taken waits too. */
function waitingOf(response: ServerResponse | Http2ServerResponse): number {
  const stream = streamOf(response);
  if (stream !== undefined) return stream.writableLength + (stream.headersSent && stream.writableEnded ? 1 : 0);
  // In a pipeline it waits for the one before it, which has a watch of its own.
  return response.socket === null ? 0 : (response as ServerResponse).writableLength;
}

function cut(response: ServerResponse | Http2ServerResponse): void {
  const stalled = new ProxyError('client_stalled');
  const stream = streamOf(response);
  if (stream === undefined) {
    response.socket?.destroy(stalled);
    return;
  }
  // An answer that was taken whole is one, although its client does not end the request.
  stream.close(stream.writableFinished ? constants.NGHTTP2_NO_ERROR : constants.NGHTTP2_CANCEL);
  // Of a session that has died, no reset goes out that would end it.
  stream.destroy(stalled);
}

function streamOf(response: ServerResponse | Http2ServerResponse): ServerHttp2Stream | undefined {
  return (response as Partial<Http2ServerResponse>).stream;
}
