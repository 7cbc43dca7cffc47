import { ProxyError } from '../errors/proxy-error.js';
import { emptyBody } from '../http/body.js';
import type { Exchange } from '../http/exchange.js';
import { Headers } from '../http/headers.js';
import type { HttpRequest, HttpResponse } from '../http/message.js';
import type { Endpoint } from './endpoint.js';

/** The attempt to reach one endpoint with a stream: it succeeds with the connection, and latency is what making it took. */
export async function openStream(endpoint: Endpoint, { stream, cancellation }: HttpRequest, exchange: Exchange): Promise<HttpResponse> {
  const { pool, latency, name } = endpoint;
  const startedAt = pool.clock.now();
  exchange.attempts++;
  exchange.endpoint = name;
  try {
    const tunnel = await pool.openStream(stream?.preamble, cancellation);
    const now = pool.clock.now();
    exchange.respondedAt = now;
    latency.observe(now - startedAt, now);
    return { status: 200, headers: Headers.of({}), body: emptyBody, tunnel };
  } catch (error) {
    if (error instanceof ProxyError && error.entry.blamesUpstream) {
      const now = pool.clock.now();
      latency.observeFailure(now - startedAt, now);
    }
    throw error;
  }
}
