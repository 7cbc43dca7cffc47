import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest, onRequestAsyncHookHandler } from 'fastify';
import rateLimit from '@fastify/rate-limit';
import { z } from 'zod';
import { ConfigError, parseConfig } from '../../shared/config/load.js';
import { duration } from '../../shared/config/units.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import { answerError as answerOthers, problem } from '../api/problem.js';
import { askLeader, passedOn, type LeaderAnswer } from './ask-leader.js';
import { RotationUnderWay } from './authority-keeper.js';
import type { CertificateAuthority } from './certificate-authority.js';
import { overlapOf } from './config.js';
import { proofSchema } from './proof.js';
import { Refusal } from './refusal.js';
import { maxRequestBytes } from './signing-request.js';

export interface CertificateRoutesOptions {
  readonly authority: CertificateAuthority;
  /** Lets only those pass that may change things. */
  readonly mayWrite: onRequestAsyncHookHandler;
  readonly logger: Logger;
  /** Hears of each request for a certificate: `issued`, or why not. */
  readonly onResult: (result: string) => void;
}

/** What the OpenAPI document says of a route. */
const described = (operationId: string, summary: string): { tags: string[]; operationId: string; summary: string } => ({ tags: ['certificates'], operationId, summary });

const maxBodyBytes = 65_536;
/** Addresses whose rates are remembered; the least recently seen is forgotten first. */
const maxClients = 10_000;
/** When those who were refused for the moment may come again (s). */
const retryAfter = '2';

const part = z.string().regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, 'expected lower-case letters, digits and hyphens');
const requestSchema = z.strictObject({ csr: z.string().min(1).max(maxRequestBytes).describe('PKCS#10, PEM.'), proof: proofSchema });
const joinTokenSchema = z.strictObject({ service: part, namespace: part.default('default'), ttl: duration.optional() });
const rotationSchema = z.strictObject({ overlap: duration.optional().describe('Instead of ca.overlap; at least twice ca.bundleRefresh.') });

/**
 * Certificates over HTTP: a plugin of its own, with its own limits and error answers.
 *
 * Asking for a certificate and reading the trust bundle take no role: the first is allowed by its proof, the second holds no secret. What
 * only the leader may do, another control plane passes on to it.
 */
export function certificateRoutes(options: CertificateRoutesOptions): FastifyPluginAsync {
  return async (api) => {
    api.setErrorHandler((error, _request, reply) => answerError(error, reply, options.logger));
    const atLeader = passOn(options);
    await certificates(api, options, atLeader);

    const { authority, mayWrite } = options;
    const { joinTokenMaxTtl, bundleRefresh } = authority.config;
    api.post('/v1/join-tokens', { schema: described('joinToken', 'Makes a join token: good once, for one certificate of one service'), onRequest: mayWrite, bodyLimit: maxBodyBytes, preHandler: atLeader }, async (request, reply) => {
      const { service, namespace, ttl = Math.min(600_000, joinTokenMaxTtl) } = parseConfig(request.body, joinTokenSchema);
      if (ttl < 1_000 || ttl > joinTokenMaxTtl) throw new ConfigError([{ path: 'ttl', message: `expected 1s to ${joinTokenMaxTtl / 1_000}s (ca.joinTokenMaxTtl)` }]);
      const { token, expiresAt } = await authority.makeJoinToken({ service, namespace }, ttl);
      return reply.code(201).header('cache-control', 'no-store').send({ token, service, namespace, expiresAt: new Date(expiresAt).toISOString() });
    });

    api.post('/v1/ca/rotate', { schema: described('rotateAuthority', 'Begins the rotation of the root'), onRequest: mayWrite, bodyLimit: maxBodyBytes, preHandler: atLeader }, async (request, reply) => {
      const { overlap = overlapOf(authority.config) } = parseConfig(request.body ?? {}, rotationSchema);
      if (overlap < 2 * bundleRefresh) throw new ConfigError([{ path: 'overlap', message: `expected at least ${(2 * bundleRefresh) / 1_000}s, twice ca.bundleRefresh` }]);
      await authority.rotate(overlap);
      return reply.code(202).send(statusOf(authority));
    });
    api.get('/v1/ca', { schema: described('getAuthority', 'Says which authorities there are, and where each stands'), onRequest: mayWrite }, async () => statusOf(authority));

    api.get('/v1/trust-bundle', { schema: described('getTrustBundle', 'The authorities that are believed, as a SPIFFE bundle or as PEM') }, async (request, reply) => {
      const { json, pem, etags } = authority.bundle;
      const form = /pem/i.test(request.headers.accept ?? '') ? 'pem' : 'json';
      reply.headers({ etag: etags[form], vary: 'Accept', 'cache-control': 'no-cache' });
      if (knows(request.headers['if-none-match'], etags[form])) return reply.code(304).send();
      return reply.type(form === 'pem' ? 'application/x-pem-file' : 'application/json').send(form === 'pem' ? pem : json);
    });
  };
}

async function certificates(parent: FastifyInstance, { authority, onResult }: CertificateRoutesOptions, atLeader: PassOn): Promise<void> {
  await parent.register(async (api) => {
    await api.register(rateLimit, { max: authority.config.requestsPerMinute, timeWindow: 60_000, cache: maxClients });
    api.addHook('onError', async (_request, _reply, error) => onResult(error instanceof Refusal ? error.code : error.statusCode === 429 ? 'limited' : 'invalid'));
    api.post('/v1/certificates', { schema: described('issueCertificate', 'Issues a certificate for a signing request with a proof'), bodyLimit: maxBodyBytes, preHandler: atLeader }, async (request, reply) => {
      const { csr, proof } = parseConfig(request.body, requestSchema);
      const { chain, serial, notAfter, name, lifetimeMs } = await authority.issue(csr, proof, request.ip);
      onResult('issued');
      return reply.code(201).header('cache-control', 'no-store').send({ name, certificate: chain, serial, notAfter: new Date(notAfter).toISOString(), lifetimeMs, trustBundle: authority.bundle.pem });
    });
  });
}

type PassOn = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>;

/** Has the leader answer, where this is another. */
function passOn({ authority, logger }: CertificateRoutesOptions): PassOn {
  return async (request, reply) => {
    const { isLeader, leader } = authority.leadership;
    if (isLeader) return undefined;
    if (leader === undefined || request.headers[passedOn] !== undefined) throw new Refusal('not_leader');
    let answer: LeaderAnswer;
    try {
      answer = await askLeader(leader, request.url, request.body ?? {}, { authorization: request.headers.authorization, ca: authority.bundle.pem });
    } catch (error) {
      logger.warn({ leader, reason: (error as Error).message }, 'the leader cannot be reached');
      throw new Refusal('not_leader');
    }
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  };
}

/** What operators see of the authorities: no key. */
function statusOf({ keeper, config, bundle }: CertificateAuthority): unknown {
  const iso = (time: number | undefined): string | undefined => (time === undefined ? undefined : new Date(time).toISOString());
  return {
    trustDomain: config.trustDomain,
    sequence: bundle.sequence,
    authorities: keeper.state.authorities.map(({ id, source, stage, publishedAt, signsFrom, leavesAt }) => ({
      id, source, stage, publishedAt: iso(publishedAt), signsFrom: iso(signsFrom), leavesAt: iso(leavesAt), endsAt: iso(keeper.get(id)?.endsAt),
    })),
  };
}

function knows(ifNoneMatch: string | undefined, etag: string): boolean {
  return ifNoneMatch !== undefined && ifNoneMatch.split(',').some((tag) => tag.trim().replace(/^W\//, '') === etag || tag.trim() === '*');
}

function answerError(error: unknown, reply: FastifyReply, logger: Logger): FastifyReply {
  if (error instanceof Refusal) {
    if (error.status === 503) reply.header('retry-after', retryAfter);
    return problem(reply, error.status, error.code, error.message);
  }
  if (error instanceof RotationUnderWay) return problem(reply, 409, 'rotation_under_way', `There can be one rotation at a time: ${error.message}.`);
  if ((error as { statusCode?: number }).statusCode === 429) return problem(reply, 429, 'too_many_requests', (error as Error).message);
  return answerOthers(error, reply, logger);
}
