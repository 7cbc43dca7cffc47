import { checkAuthorization } from '../../shared/config/check-authorization.js';
import type { Problem } from '../../shared/config/load.js';
import type { Placement, Policy } from './resources.js';

/**
 * What is wrong with who may do what, before a proxy is asked to reject it. Rules about claims need tokens that are checked in the same
 * place, by whichever policy.
 */
export function authorizationProblems(policies: readonly Policy[]): Problem[] {
  return policies.flatMap(({ name, placement, target, spec }) => {
    if (spec.authorization === undefined) return [];
    const hasTokens = placesOf(placement).every((place) =>
      target.services.every((service) => policies.some((other) => other.spec.jwt !== undefined && placesOf(other.placement).includes(place) && other.target.services.includes(service))),
    );
    // Who can prove an identity is in each proxy's own file.
    return checkAuthorization({ path: `Policy/${name}.spec`, own: spec, hasTokens, hasIdentities: undefined });
  });
}

function placesOf(placement: Placement): readonly Placement[] {
  return placement === 'both' ? ['ambassador', 'sidecar'] : placement === 'none' ? [] : [placement];
}
