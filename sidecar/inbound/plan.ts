import type { z } from 'zod';
import type { inboundPoliciesSchema } from '../config.js';
import { Generation } from '../../shared/config/generation.js';
import { upstreamSchema, type UpstreamConfig } from '../../shared/config/sections.js';
import type { Address } from '../../shared/config/units.js';
import { formatAddress } from '../../shared/config/units.js';
import type { Service } from '../../shared/http/service.js';
import { deadline } from '../../shared/policy/deadline/deadline.js';
import type { Policies } from '../../shared/policy/policies.js';
import type { UpstreamDependencies } from '../../shared/upstream/upstream.js';
import { UpstreamSet } from '../../shared/upstream/upstream-set.js';
import { defaultTimeoutMs } from '../../shared/upstream/timeouts.js';
import { routeStack } from './stack.js';

export interface InboundConfig {
  readonly service: string;
  readonly app: Address;
  readonly connectTimeout: number;
  readonly idleTimeout: number;
  readonly protocol: UpstreamConfig['protocol'];
  readonly policies: z.output<typeof inboundPoliciesSchema>;
}

/** One version of what stands between callers and the application. */
export class InboundPlan {
  private constructor(
    readonly route: Service,
    readonly upstreams: UpstreamSet,
    private readonly generation: Generation,
  ) {}

  static async build(config: InboundConfig, dependencies: UpstreamDependencies & { policies: Policies }, previous?: InboundPlan): Promise<InboundPlan> {
    const generation = new Generation(previous?.generation);
    const { service, app, connectTimeout, idleTimeout, protocol } = config;
    const { jwt, rateLimit, timeout, attemptTimeout } = config.policies;
    const upstreams = new UpstreamSet(
      { [service]: upstreamSchema.parse({ endpoints: [formatAddress(app)], connectTimeout, idleTimeout, protocol, ...(attemptTimeout === undefined ? {} : { attemptTimeout }) }) },
      dependencies,
      previous?.upstreams,
    );
    try {
      const { policies, clock } = dependencies;
      const route = routeStack(
        {
          grpc: policies.grpc({ protocol }, timeout),
          jwt: jwt && (await policies.jwt(generation, jwt)),
          rateLimit: rateLimit && (await policies.rateLimit(generation, 'inbound', rateLimit)),
          deadline: deadline(timeout ?? defaultTimeoutMs, { clock }),
        },
        upstreams.get(service)!.balance,
      );
      return new InboundPlan(route, upstreams, generation);
    } catch (error) {
      upstreams.retire(previous?.upstreams);
      generation.retire(previous?.generation);
      throw error;
    }
  }

  retire(successor?: InboundPlan): void {
    this.upstreams.retire(successor?.upstreams);
    this.generation.retire(successor?.generation);
  }
}
