import { z } from 'zod';
import { answerSchema } from '../../shared/control/snapshot.js';
import { forbidden, type Caller } from './access.js';
import type { Api, ApiContext } from './context.js';
import { ApiError } from './problem.js';
import { streamQuerySchema } from './proxy-messages.js';
import { checkFirst, pipelined, streamTo } from './stream.js';

const node = z.string().regex(/^[A-Za-z0-9._-]{1,128}$/, 'expected letters, digits, dots, hyphens and underscores').describe('The name by which the control plane knows the proxy.');
const nodeParams = z.object({ node });

/** What proxies ask and say. One sees its own snapshot alone: that of the service, or of gateways, that its token or certificate names. */
export function proxyRoutes(api: Api, { publisher, clock, logger }: ApiContext): void {
  const tags = ['proxies'];
  /** Whose the connected nodes are, so that nobody speaks in another’s name. */
  const owners = new Map<string, { readonly owner: string; streams: number }>();

  api.get('/v1/proxies/:node/stream', {
    config: { need: 'proxy', errors: { 400: pipelined, 403: 'The snapshot is not the caller’s own.' } },
    schema: {
      tags, summary: 'Sends a proxy its snapshots', description: 'Server-sent events: `event: snapshot`, the version as `id`, and `{ version, config }` as `data`.', operationId: 'streamSnapshots',
      produces: ['text/event-stream'], params: nodeParams, querystring: streamQuerySchema, response: { 200: z.string().describe('The stream.') },
    },
  }, async (request, reply) => {
    const { node } = request.params;
    const { kind, service, identity } = request.query;
    checkOwn(request.caller, node);
    if (request.caller.role === 'proxy' && !isOwnSnapshot(request.caller, kind, service)) throw forbidden(`${request.caller.name} has no part in the snapshot of that ${kind}.`);
    checkFirst(reply);
    const owner = kind === 'gateway' ? 'gateway' : `sidecar of ${service ?? 'none'}`;
    const known = owners.get(node);
    if (known !== undefined && known.owner !== owner) throw forbidden(`A proxy of that name is connected already, and is a ${known.owner}.`);
    if (known === undefined) owners.set(node, { owner, streams: 1 });
    else known.streams++;
    reply.raw.once('close', () => {
      const entry = owners.get(node);
      if (entry !== undefined && --entry.streams === 0) owners.delete(node);
    });
    void reply.hijack();
    streamTo(reply.raw, { node, kind, service, hasIdentity: identity === 'true' }, publisher, clock);
  });

  api.post('/v1/proxies/:node/status', {
    config: { need: 'proxy', errors: { 403: 'The proxy is not the caller.', 404: 'No proxy of that name is connected.' } },
    schema: { tags, summary: 'Tells whether a proxy accepted a snapshot', operationId: 'answerSnapshot', params: nodeParams, body: answerSchema, response: { 204: z.null().describe('Noted.') } },
  }, async (request, reply) => {
    const { node } = request.params;
    const { version, accepted, reason, rejections } = request.body;
    const { caller } = request;
    checkOwn(caller, node);
    const owner = owners.get(node)?.owner;
    if (caller.role === 'proxy' && owner !== undefined && owner !== ownerOf(caller)) throw forbidden(`${caller.name} is not the proxy of that name.`);
    const isMissing = caller.role === 'proxy' && owner === undefined;
    if (!accepted && !isMissing) logger.warn({ node, version, reason }, 'a proxy rejected its snapshot');
    else if (!isMissing && rejections !== undefined) logger.warn({ node, version, rejections }, 'a proxy rejected parts of its snapshot');
    if (isMissing || !publisher.answer(node, version, accepted ? undefined : (reason ?? 'no reason was given'), rejections)) throw new ApiError(404, 'not_found', 'No proxy of that name is connected.');
    return reply.code(204).send();
  });
}

function checkOwn(caller: Caller, node: string): void {
  if (caller.node !== undefined && caller.node !== node) throw forbidden(`${caller.name} is the proxy ${caller.node} alone.`);
}

function isOwnSnapshot(caller: Caller, kind: 'gateway' | 'sidecar', service: string | undefined): boolean {
  return kind === 'gateway' ? caller.isGateway === true : caller.service !== undefined && caller.service === service;
}

function ownerOf({ isGateway, service }: Caller): string {
  return isGateway === true ? 'gateway' : `sidecar of ${service ?? 'none'}`;
}
