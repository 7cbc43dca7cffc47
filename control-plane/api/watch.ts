import type { FastifyRequest } from 'fastify';
import type { ServerResponse } from 'node:http';
import { z } from 'zod';
import type { Clock, Timer } from '../../shared/clock/clock.js';
import type { Revision } from '../sources/store.js';
import { revisionFor } from './changes.js';
import type { Api, ApiContext } from './context.js';
import { ApiError } from './problem.js';
import { RevisionFeed, type Watcher } from './revision-feed.js';
import { checkFirst, pipelined } from './stream.js';

const heartbeatMs = 10_000;
/** What may wait for a slow reader (bytes); beyond it, or when it takes nothing for so long, it is cut off and may come back. */
const maxBufferedBytes = 1_048_576;
const stalledMs = 60_000;
const maxWatchers = 256;

const watchQuery = z.strictObject({
  since: z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER).optional().describe('Begin after this version, that of a list say; default: with what comes. Last-Event-ID goes before it.'),
});
const watchHeaders = z.looseObject({ 'last-event-id': z.string().regex(/^\d{1,15}$/, 'expected a version').optional().describe('The last version that the caller has seen.') });

/** Every change as it happens. Returns what ends all of it. */
export function watchRoutes(api: Api, { store, clock, logger }: ApiContext): { close: () => void } {
  const feed = new RevisionFeed(store, logger);

  api.get('/v1/watch', {
    config: {
      need: 'read',
      errors: { 400: pipelined, 410: 'History does not reach back to that version: read the lists anew, and watch from their version.', 503: 'Too many watch already.' },
    },
    schema: {
      tags: ['history'], summary: 'Sends revisions as they are made', operationId: 'watch', produces: ['text/event-stream'],
      description: 'Server-sent events: `event: revision`, the version as `id`, and a Revision as `data`. A reader that does not keep up is cut off, and comes back with Last-Event-ID.',
      headers: watchHeaders, querystring: watchQuery, response: { 200: z.string().describe('The stream.') },
    },
  }, async (request, reply) => {
    checkFirst(reply);
    if (feed.size >= maxWatchers) throw new ApiError(503, 'too_many_watchers', `${maxWatchers} watch already.`, { headers: { 'retry-after': '5' } });
    const asked = request.headers['last-event-id'];
    const since = asked === undefined ? (request.query.since ?? store.version) : Number(asked);
    // Nothing is sent before it is known whether there is anything to resume.
    const reader = new Reader(reply.raw, request, clock, () => feed.remove(reader));
    if (!(await feed.add(reader, since))) {
      const oldest = (await store.history(1_000)).at(-1)?.version;
      throw new ApiError(410, 'history_lost', 'History does not reach back to that version.', { members: { current: { version: store.version }, ...(oldest !== undefined && { oldest }) } });
    }
    void reply.hijack();
    reader.begin();
  });
  return feed;
}

/** One who watches, and the bounds of what is kept for it: what it had missed when it came, and little more. */
class Reader implements Watcher {
  readonly #queue: string[] = [];
  #queued = 0;
  #limit = Infinity;
  #hasBegun = false;
  #heartbeat: Timer | undefined;
  #takenAt: number;

  constructor(
    private readonly response: ServerResponse,
    private readonly request: FastifyRequest,
    private readonly clock: Clock,
    private readonly onEnd: () => void,
  ) {
    this.#takenAt = clock.now();
  }

  readonly send = (revision: Revision): void => {
    const event = `event: revision\nid: ${revision.version}\ndata: ${JSON.stringify(revisionFor(this.request, revision))}\n\n`;
    this.#queue.push(event);
    this.#queued += event.length;
    if (!this.#hasBegun) return;
    this.#flush();
    if (this.#queued > this.#limit) this.response.destroy();
  };

  readonly lost = (): void => {
    this.response.end();
  };

  begin(): void {
    const { response } = this;
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
    response.flushHeaders();
    response.on('drain', () => {
      this.#takenAt = this.clock.now();
      this.#flush();
    });
    response.on('error', () => {});
    response.on('close', () => {
      this.#heartbeat?.cancel();
      this.onEnd();
    });
    this.#hasBegun = true;
    this.#limit = this.#queued + maxBufferedBytes;
    this.#flush();
    if (response.destroyed) this.onEnd();
    else this.#beat();
  }

  #flush(): void {
    const { response } = this;
    if (response.destroyed || response.writableEnded) return;
    while (!response.writableNeedDrain && this.#queue.length > 0) {
      const event = this.#queue.shift()!;
      this.#queued -= event.length;
      if (response.write(event)) this.#takenAt = this.clock.now();
    }
    if (this.#queue.length === 0) this.#limit = maxBufferedBytes;
  }

  #beat(): void {
    const { response, clock } = this;
    this.#heartbeat = clock.after(heartbeatMs, () => {
      if (response.destroyed) return;
      if (!response.writableNeedDrain) response.write(':\n\n');
      else if (clock.now() - this.#takenAt > stalledMs) response.destroy();
      this.#beat();
    });
  }
}
