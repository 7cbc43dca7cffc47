import type { z } from 'zod';
import type { inboundPoliciesSchema } from '../config.js';
import { Generation } from '../../shared/config/generation.js';
import { upstreamSchema, type UpstreamConfig } from '../../shared/config/sections.js';
import type { Address } from '../../shared/config/units.js';
import { formatAddress } from '../../shared/config/units.js';
import type { Service } from '../../shared/http/service.js';
import { delivery, type DeliveryDependencies } from '../../shared/policy/delivery.js';
import { headerChanges } from '../../shared/policy/header-changes/header-changes.js';
import { scopeNamed } from '../../shared/policy/scope.js';
import type { UpstreamDependencies } from '../../shared/upstream/upstream.js';
import { UpstreamSet } from '../../shared/upstream/upstream-set.js';
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

  static async build(config: InboundConfig, dependencies: UpstreamDependencies & DeliveryDependencies, previous?: InboundPlan): Promise<InboundPlan> {
    const generation = new Generation(previous?.generation);
    const { service, app, connectTimeout, idleTimeout, protocol } = config;
    const { jwt, authorization, rateLimit, fault, headers, attemptTimeout } = config.policies;
    let upstreams: UpstreamSet | undefined;
    try {
      upstreams = await UpstreamSet.open(
        { [service]: upstreamSchema.parse({ endpoints: [formatAddress(app)], connectTimeout, idleTimeout, protocol, ...(attemptTimeout === undefined ? {} : { attemptTimeout }) }) },
        // An application that goes by a name of this machine may be this listener; and what `Via` says is the application's to keep.
        { ...dependencies, isLoop: dependencies.isOwnAddress },
        previous?.upstreams,
      );
      const { policies } = dependencies;
      const scope = scopeNamed('inbound');
      const upstream = upstreams.get(service)!;
      const route = routeStack(
        {
          jwt: jwt && (await policies.jwt(generation, jwt)),
          authorization: authorization && (await policies.authorization(generation, scope.name, authorization)),
          rateLimit: rateLimit && (await policies.rateLimit(generation, scope, rateLimit)),
          fault: fault && policies.fault(fault),
          headers: headers && headerChanges(headers),
          ...(await delivery(generation, dependencies, upstream, { ...config.policies, scope })),
        },
        upstream.balance,
      );
      return new InboundPlan(route, upstreams, generation);
    } catch (error) {
      upstreams?.retire(previous?.upstreams);
      generation.retire(previous?.generation);
      throw error;
    }
  }

  /** From here on it is in force, and takes the place of `previous`. */
  takeOver(previous?: InboundPlan): void {
    previous?.retire(this);
  }

  retire(successor?: InboundPlan): void {
    this.upstreams.retire(successor?.upstreams);
    this.generation.retire(successor?.generation);
  }
}
