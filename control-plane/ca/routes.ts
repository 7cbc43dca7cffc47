import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify';
import rateLimit from '@fastify/rate-limit';
import { z } from 'zod';
import { ConfigError } from '../../shared/config/load.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Api } from '../api/context.js';
import { readHeaders } from '../api/preconditions.js';
import { answerError as answerOthers, problem } from '../api/problem.js';
import { noQuery } from '../api/schemas.js';
import { askLeader, passedOn, type LeaderAnswer } from './ask-leader.js';
import { RotationUnderWay } from './authority-keeper.js';
import type { CertificateAuthority } from './certificate-authority.js';
import { overlapOf } from './config.js';
import { Refusal } from './refusal.js';
import { authorityStatus, certificateAnswer, certificateRequest, joinTokenAnswer, joinTokenRequest, rotationRequest, trustBundleDocument, trustBundlePem, type AuthorityStatus, type CertificateAnswer, type JoinTokenAnswer } from './schemas.js';

interface CertificateRoutesOptions {
  readonly authority: CertificateAuthority;
  readonly logger: Logger;
  /** Hears of each request for a certificate: `issued`, or why not. */
  readonly onResult: (result: string) => void;
}

const maxBodyBytes = 65_536;
/** Addresses whose rates are remembered; the least recently seen is forgotten first. */
const maxClients = 10_000;
/** When those who were refused for the moment may come again (s). */
const retryAfter = '2';

const tags = ['certificates'];
const tooLarge = 'The body is larger than 64 KiB.';
/** How these may be refused beside what all routes of their kind are. */
const refusedByLeader = { 413: tooLarge, 503: 'Another control plane leads, and cannot be reached; `Retry-After` says when to come again.' };

/**
 * Certificates over HTTP: a plugin of its own, with its own limits and error answers.
 *
 * Asking for a certificate and reading the trust bundle take no role: the first is allowed by its proof, the second holds no secret. What
 * only the leader may do, another control plane passes on to it.
 */
export function certificateRoutes(options: CertificateRoutesOptions): FastifyPluginAsync {
  return async (server) => {
    const api = server as unknown as Api;
    api.setErrorHandler((error, _request, reply) => answerError(error, reply, options.logger));
    const atLeader = passOn(options);
    await certificates(api, options, atLeader);

    const { authority } = options;
    const { joinTokenMaxTtl, bundleRefresh } = authority.config;
    api.post('/v1/join-tokens', {
      config: { need: 'write', errors: refusedByLeader },
      schema: { tags, summary: 'Makes a join token: good once, for one certificate of one service', operationId: 'joinToken', querystring: noQuery, body: joinTokenRequest, response: { 201: joinTokenAnswer } },
      bodyLimit: maxBodyBytes,
      preValidation: atLeader,
    }, async (request, reply) => {
      const { service, namespace, ttl = Math.min(600_000, joinTokenMaxTtl) } = request.body;
      if (ttl < 1_000 || ttl > joinTokenMaxTtl) throw new ConfigError([{ path: 'ttl', message: `expected 1s to ${joinTokenMaxTtl / 1_000}s (ca.joinTokenMaxTtl)` }]);
      const { token, expiresAt } = await authority.makeJoinToken({ service, namespace }, ttl);
      return reply.code(201).header('cache-control', 'no-store').send({ token, service, namespace, expiresAt: new Date(expiresAt).toISOString() } satisfies JoinTokenAnswer);
    });

    api.post('/v1/ca/rotate', {
      config: { need: 'write', errors: { ...refusedByLeader, 409: 'A rotation is under way, or the issuer is given.' } },
      schema: { tags, summary: 'Begins the rotation of the root', operationId: 'rotateAuthority', querystring: noQuery, body: rotationRequest, response: { 202: authorityStatus } },
      bodyLimit: maxBodyBytes,
      preValidation: atLeader,
    }, async (request, reply) => {
      const { overlap = overlapOf(authority.config) } = request.body;
      if (overlap < 2 * bundleRefresh) throw new ConfigError([{ path: 'overlap', message: `expected at least ${(2 * bundleRefresh) / 1_000}s, twice ca.bundleRefresh` }]);
      await authority.rotate(overlap);
      return reply.code(202).send(statusOf(authority));
    });
    api.get('/v1/ca', {
      config: { need: 'write' },
      schema: { tags, summary: 'Says which authorities there are, and where each stands', operationId: 'getAuthority', querystring: noQuery, response: { 200: authorityStatus } },
    }, async () => statusOf(authority));

    api.get('/v1/trust-bundle', {
      config: { answerHeaders: { ETag: 'Tag for If-None-Match; each form has its own.' } },
      schema: {
        tags, summary: 'The authorities that are believed, as a SPIFFE bundle or as PEM', operationId: 'getTrustBundle', headers: readHeaders,
        response: {
          200: { description: 'The roots, in the form that `Accept` asks for.', content: { 'application/json': { schema: trustBundleDocument }, 'application/x-pem-file': { schema: trustBundlePem } } },
          304: z.null().describe('The caller has it already.'),
        },
      },
    }, async (request, reply) => {
      const { json, pem, etags } = authority.bundle;
      const form = /pem/i.test(request.headers.accept ?? '') ? 'pem' : 'json';
      reply.headers({ etag: etags[form], vary: 'Accept', 'cache-control': 'no-cache' });
      if (knows(request.headers['if-none-match'], etags[form])) return reply.code(304).send();
      return reply.type(form === 'pem' ? 'application/x-pem-file' : 'application/json').send(form === 'pem' ? pem : json);
    });
  };
}

async function certificates(parent: Api, { authority, onResult }: CertificateRoutesOptions, atLeader: PassOn): Promise<void> {
  await parent.register(async (server) => {
    const api = server as unknown as Api;
    await api.register(rateLimit, { max: authority.config.requestsPerMinute, timeWindow: 60_000, cache: maxClients });
    api.addHook('onError', async (_request, _reply, error) => onResult(error instanceof Refusal ? error.code : error.statusCode === 429 ? 'limited' : 'invalid'));
    api.post('/v1/certificates', {
      config: { errors: { ...refusedByLeader, 403: 'The proof does not allow it; `code` says why.', 429: 'Too many requests from this address.' } },
      schema: { tags, summary: 'Issues a certificate for a signing request with a proof', operationId: 'issueCertificate', querystring: noQuery, body: certificateRequest, response: { 201: certificateAnswer } },
      bodyLimit: maxBodyBytes,
      preValidation: atLeader,
    }, async (request, reply) => {
      const { csr, proof } = request.body;
      const { chain, serial, notAfter, name, lifetimeMs } = await authority.issue(csr, proof, request.ip);
      onResult('issued');
      return reply.code(201).header('cache-control', 'no-store').send({ name, certificate: chain, serial, notAfter: new Date(notAfter).toISOString(), lifetimeMs, trustBundle: authority.bundle.pem } satisfies CertificateAnswer);
    });
  });
}

type PassOn = (request: FastifyRequest, reply: FastifyReply) => Promise<FastifyReply | undefined>;

/** Has the leader answer, where this is another. */
function passOn({ authority, logger }: CertificateRoutesOptions): PassOn {
  return async (request, reply) => {
    // A request without a body means all defaults.
    request.body ??= {};
    const { isLeader, leader } = authority.leadership;
    if (isLeader) return undefined;
    if (leader === undefined || request.headers[passedOn] !== undefined) throw new Refusal('not_leader');
    let answer: LeaderAnswer;
    try {
      answer = await askLeader(leader, request.url, request.body, { authorization: request.headers.authorization, ca: authority.bundle.pem });
    } catch (error) {
      logger.warn({ leader, reason: (error as Error).message }, 'the leader cannot be reached');
      throw new Refusal('not_leader');
    }
    return reply.code(answer.status).headers(answer.headers).send(answer.body);
  };
}

/** What operators see of the authorities: no key. */
function statusOf({ keeper, config, bundle }: CertificateAuthority): AuthorityStatus {
  const iso = (time: number): string => new Date(time).toISOString();
  return {
    trustDomain: config.trustDomain,
    sequence: bundle.sequence,
    authorities: keeper.state.authorities.map(({ id, source, stage, publishedAt, signsFrom, leavesAt }) => {
      const authority = keeper.get(id);
      return { id, source, stage, publishedAt: iso(publishedAt), signsFrom: iso(signsFrom), ...(leavesAt !== undefined && { leavesAt: iso(leavesAt) }), ...(authority && { endsAt: iso(authority.endsAt) }) };
    }),
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
  const { statusCode } = error as { statusCode?: number };
  if (statusCode === 413) return problem(reply, 413, 'too_large', tooLarge);
  if (statusCode === 429) return problem(reply, 429, 'too_many_requests', (error as Error).message);
  return answerOthers(error, reply, logger);
}
