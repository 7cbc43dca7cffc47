import type { FastifyReply, FastifyRequest } from 'fastify';
import type { IncomingHttpHeaders } from 'node:http';

/** The request that causes a call to another service. */
export interface Caller {
  readonly headers: IncomingHttpHeaders;
  /** Aborts when whoever sent it has left: the call is then broken off, since nobody waits for its answer. */
  readonly gone?: AbortSignal;
}

export function callerOf(request: FastifyRequest, reply: FastifyReply): Caller {
  return { headers: request.headers, gone: goneBefore(reply) };
}

/** Aborts when the connection closes before the answer went out. (A request’s own `close` means that its body was read.) */
export function goneBefore(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
