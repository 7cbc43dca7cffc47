import type { FastifyBaseLogger, FastifyInstance, FastifyTypeProvider, RawServerDefault } from 'fastify';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry as MetricsRegistry } from 'prom-client';
import type { z } from 'zod';
import type { Clock } from '../../shared/clock/clock.js';
import type { Logger } from '../../shared/telemetry/logger.js';
import type { Publisher } from '../publish/publisher.js';
import type { InstanceSource } from '../sources/instances.js';
import type { Store } from '../sources/store.js';
import type { Need } from './access.js';

/** What the routes stand on. */
export interface ApiContext {
  readonly store: Store;
  /** Of the mesh; undefined where neither `ca` nor `access` says it. */
  readonly trustDomain: string | undefined;
  readonly registry: Pick<InstanceSource, 'instances' | 'register' | 'deregister'>;
  readonly publisher: Publisher;
  readonly metrics: MetricsRegistry;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly isReady: () => boolean;
}

/** Handlers get what the zod schemas of their route make of a request. */
interface ZodTypes extends FastifyTypeProvider {
  readonly validator: this['schema'] extends z.ZodType ? z.output<this['schema']> : unknown;
  readonly serializer: unknown;
}

export type Api = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypes>;

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a caller must be allowed; without it the route is open, or has a check of its own. */
    need?: Need;
    /** Refusals that this route has beside those that all of its kind have: what each means, by status. */
    errors?: Readonly<Record<number, string>>;
    /** Fields of its answer, with what they say. */
    answerHeaders?: Readonly<Record<string, string>>;
  }
}
