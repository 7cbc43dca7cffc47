import type { FastifyReply } from 'fastify';
import { Pool } from 'undici';
import type { Caller } from './caller.js';

/** A call to another service that got no good answer: `status` is what to tell one's own caller. */
export class PeerFailure extends Error {
  constructor(readonly status: number) {
    super(`a service that was needed answered ${status}`);
  }
}

/** How long an application waits for another: it protects itself, with a proxy or without. */
export const timeoutMs = 1_000;

/** Fields that tie calls to the request that caused them; a proxy cannot know which that was. */
const propagated = ['traceparent', 'tracestate', 'x-request-id', 'authorization', 'x-canary', 'x-envoy-attempt-count', 'x-lab-tag', 'x-lab-client'] as const;

/** The fields of a call that it takes over from the request which caused it. */
export function propagatedFields({ headers }: Caller): Record<string, string> {
  const fields: Record<string, string> = {};
  for (const name of propagated) {
    const value = headers[name];
    if (typeof value === 'string') fields[name] = value;
  }
  return fields;
}

/**
 * Another service, as an application sees it: addresses to take in turn, or, with `HTTP_PROXY`, its name, asked of
 * the sidecar.
 */
export class Peer {
  readonly #pools: Pool[];
  readonly #prefix: string;
  #next = 0;

  constructor(name: string, environment: NodeJS.ProcessEnv) {
    const { HTTP_PROXY } = environment;
    const urls = environment[`${name.toUpperCase()}_URLS`];
    if (HTTP_PROXY === undefined && urls === undefined) throw new Error(`neither HTTP_PROXY nor ${name.toUpperCase()}_URLS says where ${name} is`);
    this.#prefix = HTTP_PROXY === undefined ? '' : `http://${name}`;
    this.#pools = (HTTP_PROXY ?? urls!).split(',').map((url) => new Pool(url, { connections: 64, headersTimeout: timeoutMs, bodyTimeout: timeoutMs, connect: { timeout: timeoutMs } }));
  }

  /** Rejects with a `PeerFailure` unless the answer is below 400. */
  async call(method: 'GET' | 'POST', path: string, caller: Caller, body?: object): Promise<unknown> {
    const pool = this.#pools[this.#next++ % this.#pools.length]!;
    const { gone } = caller;
    const headers = { ...propagatedFields(caller), ...(body && { 'content-type': 'application/json' }) };
    let answer;
    try {
      answer = await pool.request({ method, path: this.#prefix + path, headers, ...(gone && { signal: gone }), ...(body && { body: JSON.stringify(body) }) });
      if (answer.statusCode < 400) return await answer.body.json();
      await answer.body.dump();
    } catch (error) {
      throw new PeerFailure((error as { code?: unknown }).code === 'UND_ERR_HEADERS_TIMEOUT' ? 504 : 503);
    }
    throw new PeerFailure(answer.statusCode >= 500 ? answer.statusCode : 502);
  }
}

/** Answers with what the peers were needed for, or with the failure of the one that failed. */
export async function withPeers(reply: FastifyReply, answer: () => Promise<object>): Promise<object> {
  try {
    return await answer();
  } catch (error) {
    if (!(error instanceof PeerFailure)) throw error;
    return reply.code(error.status).send({ error: error.message });
  }
}
