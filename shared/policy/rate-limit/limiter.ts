import type { FastifyRateLimitStoreCtor } from '@fastify/rate-limit';
import type { FastifyInstance } from 'fastify';
import { withoutSchemas } from '../../process/without-schemas.js';

/** As much of a Fastify request as the limiter reads. */
export interface Keyed {
  readonly key: string;
  readonly routeOptions: object;
}

type CreateRateLimit = FastifyInstance['createRateLimit'];

/** Counts a request, and says what that comes to. Rejects if it could not be counted. */
type Check = (keyed: Keyed) => ReturnType<ReturnType<CreateRateLimit>>;

/** What a quota is, and what it is counted with. */
interface Quota {
  readonly max: number;
  /** Length of the window (ms). */
  readonly timeWindow: number;
  readonly store: FastifyRateLimitStoreCtor;
}

/**
 * @fastify/rate-limit, once for all quotas of a process: it comes as a plugin of Fastify, whose instances take milliseconds to make. This one
 * never listens, so that there is nothing to close.
 */
export class Limiter {
  #create: Promise<CreateRateLimit> | undefined;

  /** The check of one quota. */
  async quota(quota: Quota): Promise<Check> {
    const create = await (this.#create ??= open());
    return create(quota) as unknown as Check;
  }
}

/** Loaded where there are quotas, which most sidecars have none of. */
async function open(): Promise<CreateRateLimit> {
  const [{ default: Fastify }, { default: fastifyRateLimit }] = await Promise.all([import('fastify'), import('@fastify/rate-limit')]);
  const fastify = Fastify({ schemaController: withoutSchemas });
  await fastify.register(fastifyRateLimit, { global: false, keyGenerator: (request) => (request as unknown as Keyed).key, store: StoreOfEach });
  return (quota) => fastify.createRateLimit(quota);
}

/** The limiter has one store, and takes that of each quota to be a child of it. */
class StoreOfEach {
  incr(): void {
    throw new Error('only quotas count');
  }

  /** Of the options that the quota was made with. */
  child(quota: object): InstanceType<FastifyRateLimitStoreCtor> {
    return new (quota as Quota).store({});
  }
}
