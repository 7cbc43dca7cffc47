import type { ShapedRoute } from '../config/shaping.js';
import { stack, type Layer, type Service } from '../http/service.js';
import { redirect, respond } from '../policy/fixed-answer/fixed-answer.js';
import { headerChanges } from '../policy/header-changes/header-changes.js';
import type { Policies } from '../policy/policies.js';
import { rewrite } from '../policy/rewrite/rewrite.js';
import { split } from '../policy/split/split.js';
import type { Upstream } from '../upstream/upstream.js';
import type { UpstreamSet } from '../upstream/upstream-set.js';

/** What is done with a route's requests on their way to an upstream; the same for each side of a split. */
export interface ShapingLayers {
  readonly headers: Layer | undefined;
  readonly rewrite: Layer | undefined;
  readonly mirror: Layer | undefined;
}

interface DestinationDependencies {
  readonly policies: Policies;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/**
 * Where the requests of a route end: at an upstream, at one of the sides of a split, or here, where the answer is known.
 * `side` puts in front of an upstream what a request passes on its way there. That every upstream exists was
 * checked when the configuration was read.
 */
export async function destination(
  route: ShapedRoute,
  upstreams: UpstreamSet,
  { policies, random }: DestinationDependencies,
  side: (upstream: Upstream, shaping: ShapingLayers) => Promise<Service>,
): Promise<Service> {
  const headers = route.headers && headerChanges(route.headers);
  if (route.redirect !== undefined) return stack([headers], redirect(route.redirect, route.match.path));
  if (route.respond !== undefined) return stack([headers], respond(route.respond));
  const shaping = {
    headers,
    rewrite: route.rewrite && rewrite(route.rewrite, route.match.path),
    mirror: route.mirror && policies.mirror(route.mirror, upstreams.get(route.mirror.upstream)!.balance),
  };
  if (route.split === undefined) return side(upstreams.get(route.upstream!)!, shaping);
  const services = new Map<string, Service>();
  for (const { upstream } of route.split) services.set(upstream, await side(upstreams.get(upstream)!, shaping));
  return split(route.split, route.sticky, services, { random });
}
