import type { FastifyError, FastifyReply } from 'fastify';
import { ConfigError, type Problem } from '../../shared/config/load.js';
import type { Logger } from '../../shared/telemetry/logger.js';

declare module 'fastify' {
  interface FastifyReply {
    /** Code of the problem that this reply tells of; for the audit log. */
    problemCode: string | undefined;
    /** Paths of what was wrong with the document. */
    problemPaths: readonly string[];
  }
}

/** A request that is answered with a problem document (RFC 9457). */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  constructor(
    readonly status: number,
    /** Stable. */
    readonly code: string,
    /** A sentence for whoever sent the request. */
    readonly detail: string,
    readonly more: { readonly headers?: Readonly<Record<string, string>>; readonly members?: object } = {},
  ) {
    super(detail);
  }
}

/** What the framework refuses. Its own texts may quote what was sent, and that may be a secret. */
const refusals: Readonly<Record<number, readonly [code: string, detail: string]>> = {
  400: ['bad_request', 'The request cannot be read: its body is not valid JSON or YAML, or its address is malformed.'],
  413: ['too_large', 'The body is larger than 4 MiB, or 256 KiB of YAML.'],
  414: ['too_long', 'A part of the address is too long.'],
  415: ['unsupported_media_type', 'The body must be application/json, or application/yaml where resources are written.'],
};

/** Turns whatever went wrong into an answer: nothing internal in it. */
export function answerError(error: unknown, reply: FastifyReply, logger: Logger): FastifyReply {
  if (error instanceof ApiError) return problem(reply.headers(error.more.headers ?? {}), error.status, error.code, error.detail, error.more.members);
  if (error instanceof ConfigError) return invalid(reply, error.problems);
  const { statusCode = 500, code, name, message } = error as Partial<FastifyError>;
  // A store on another machine can be away; what it says of that is fit to be read.
  if (code === 'store_unavailable') return problem(reply.header('retry-after', '1'), 503, code, message ?? name ?? '');
  if (statusCode < 500) return problem(reply, statusCode, ...(refusals[statusCode] ?? refusals[400]!));
  logger.error({ err: error }, 'a request failed');
  return problem(reply, 500, 'internal', 'The control plane failed to handle the request.');
}

export function problem(reply: FastifyReply, status: number, code: string, detail: string, members: object = {}): FastifyReply {
  reply.problemCode = code;
  return reply.code(status).type(problemType).send({ ...problemOf(status, code, detail), ...members });
}

export const problemType = 'application/problem+json';

/** The document that says what is wrong (RFC 9457). */
export function problemOf(status: number, code: string, detail: string): object {
  return { type: 'about:blank', status, code, detail };
}

function invalid(reply: FastifyReply, problems: readonly Problem[]): FastifyReply {
  reply.problemPaths = problems.map(({ path }) => path);
  return problem(reply, 422, 'invalid', 'The document is not valid.', { problems });
}
