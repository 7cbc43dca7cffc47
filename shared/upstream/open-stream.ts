import { emptyBody } from '../http/body.js';
import type { Exchange } from '../http/exchange.js';
import { Headers } from '../http/headers.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { ConnectionPool } from './connection-pool.js';

/** The attempt to reach an endpoint with a stream: it succeeds with the connection, and what it took is what making it took. */
export async function openStream(pool: ConnectionPool, { stream, cancellation }: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
  const tunnel = await pool.openStream(stream?.preamble, cancellation);
  exchange.respondedAt = pool.clock.now();
  return { status: 200, headers: Headers.of({}), body: emptyBody, tunnel };
}
