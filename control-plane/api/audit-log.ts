import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import type { Clock } from '../../shared/clock/clock.js';
import { ConfigError } from '../../shared/config/load.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import { AuditFile } from './audit-file.js';
import { ApiError, problemOf, problemType } from './problem.js';

export const auditSchema = z.strictObject({
  file: z.string().min(1).optional().describe('File (mode 0600) that lines are appended to; without it they go to the process log.'),
});
export type AuditConfig = z.output<typeof auditSchema>;

/** What a change did to one resource: versions of the resource, 0 where there was or is none. */
interface AuditedChange {
  readonly kind: string;
  readonly name: string;
  readonly before: number;
  readonly after: number;
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What this request changed, and the version of the whole that it made; for the audit log. */
    changed: { readonly version: number; readonly changes: readonly AuditedChange[] } | undefined;
    isDryRun: boolean;
  }
}

const unavailable = 'audit_unavailable';
const maxChanges = 100;
const maxPaths = 20;
const maxText = 256;
/** Who knocks with wrong tokens or proofs must not fill the disk: refusals and failures that are written each second; the rest, and those that could not be written, are counted. */
const maxRefusalsASecond = 50;

/**
 * Who changed what, from where, and who tried and was refused: a line of JSON each, written before the answer is sent. Names and versions, never
 * values: history has these, and it is not for everybody who may read logs.
 *
 * While the file cannot be written, changes are refused; the line of one that was made when it failed is kept until it can. Certificates are given all
 * the same, which the process log tells of: without them the mesh would end with the disk.
 */
export class AuditLog {
  readonly #file: AuditFile | undefined;
  #second = 0;
  #refused = 0;
  #suppressed = 0;

  /** Throws a `ConfigError` if the file cannot be written. */
  constructor(
    { file }: AuditConfig,
    private readonly clock: Clock,
    private readonly logger: Logger,
  ) {
    this.#file = file === undefined ? undefined : openFile(file, logger);
  }

  /** Whether everything so far has been written. */
  get isWritten(): boolean {
    return this.#file?.isWritten ?? true;
  }

  /** Rejects a change, before it is made, while it could not be taken down. */
  check(request: FastifyRequest): void {
    if (request.method === 'GET' || request.routeOptions.config.need !== 'write') return;
    this.#file?.flush();
    if (!this.isWritten) throw new ApiError(503, unavailable, 'The audit log cannot be written, and without it nothing is changed.', { headers: { 'retry-after': '5' } });
  }

  /** Takes down a request that is about to be answered, if it is one that counts. Returns what it is answered with: something else where a change cannot be taken down. */
  record(request: FastifyRequest, reply: FastifyReply, payload: unknown): unknown {
    this.#record(request, reply);
    if (this.isWritten || request.routeOptions.config.need !== 'write' || reply.statusCode >= 400 || !request.changed?.changes.length) return payload;
    void reply.code(503).type(problemType).header('retry-after', '5');
    return JSON.stringify(problemOf(503, unavailable, 'The change was made, but the audit log cannot be written. It is taken down as soon as that can be.'));
  }

  #record(request: FastifyRequest, reply: FastifyReply): void {
    const { statusCode } = reply;
    const isRefused = statusCode === 401 || statusCode === 403;
    const need = request.routeOptions.config.need;
    const isChange = !['GET', 'HEAD', 'OPTIONS'].includes(request.method) && need !== 'proxy' && request.routeOptions.url !== undefined && !request.isDryRun;
    if (!isRefused && (!isChange || (statusCode < 400 && request.changed?.changes.length === 0))) return;
    if (statusCode >= 400 && this.#isTooMuch()) return;
    this.#write(this.#line(request, reply, isRefused ? 'refused' : statusCode < 400 ? 'done' : 'failed'));
  }

  close(): void {
    this.#file?.close();
  }

  #write(line: object): void {
    if (this.#file === undefined) this.logger.info({ audit: line }, 'audit');
    else this.#file.write(`${JSON.stringify(line)}\n`);
  }

  #line(request: FastifyRequest, reply: FastifyReply, outcome: string): object {
    const { version, changes = [] } = request.changed ?? {};
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    return {
      at: new Date(this.clock.wallNow()).toISOString(),
      by: request.caller.name.slice(0, maxText),
      role: request.caller.role,
      from: request.ip,
      // The route, and not the address: whoever mistakes one for the other must not find a token here.
      what: `${request.method} ${request.routeOptions.url ?? 'unknown'}`,
      ...target(request.params),
      outcome,
      status: reply.statusCode,
      ...(reply.problemCode !== undefined && { code: reply.problemCode }),
      ...(reply.problemPaths.length > 0 && { problems: reply.problemPaths.slice(0, maxPaths).map((path) => path.slice(0, maxText)) }),
      ...(version !== undefined && { version, changes: changes.slice(0, maxChanges) }),
      ...(changes.length > maxChanges && { moreChanges: changes.length - maxChanges }),
      ...(suppressed > 0 && { refusalsNotWritten: suppressed }),
    };
  }

  #isTooMuch(): boolean {
    const second = Math.floor(this.clock.now() / 1_000);
    if (second !== this.#second) this.#refused = 0;
    this.#second = second;
    if (++this.#refused <= maxRefusalsASecond && this.isWritten) return false;
    this.#suppressed++;
    return true;
  }
}

function openFile(file: string, logger: Logger): AuditFile {
  try {
    return new AuditFile(file, logger);
  } catch (error) {
    throw new ConfigError([{ path: 'audit.file', message: `${file} cannot be written (${(error as NodeJS.ErrnoException).code ?? 'unknown'})` }], 'control-plane');
  }
}

/** The parts of the address that have names, where they look like names. */
function target(params: unknown): object {
  const named = Object.entries((params ?? {}) as Record<string, unknown>).filter((entry): entry is [string, string] => typeof entry[1] === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(entry[1]));
  return named.length === 0 ? {} : { target: Object.fromEntries(named) };
}
