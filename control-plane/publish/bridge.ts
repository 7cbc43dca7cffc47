import { admissionPolicies } from '../../shared/config/policies.js';
import type { Model } from '../model/model.js';
import type { Policy } from '../model/resources.js';
import { holds, specFor, type Place } from '../compile/compile.js';

/** Settings that let requests in or not. Of all others it does no harm when they are in no place for a moment. */
const admission = Object.keys(admissionPolicies) as readonly (keyof typeof admissionPolicies)[];

/** A setting for a service that leaves one place for the other, where it may have been too: that place need not have taken it. */
export interface Move {
  readonly setting: (typeof admission)[number];
  readonly service: string;
  readonly from: Place;
  readonly to: Place;
}

const otherPlace = { ambassador: 'sidecar', sidecar: 'ambassador' } as const satisfies Record<Place, Place>;

/** What admits requests and changes its place between two models. */
export function movesBetween(before: Model, after: Model): Move[] {
  if (before === after) return [];
  const services = new Set([...before.policies, ...after.policies].flatMap(({ target }) => target.services));
  const moves: Move[] = [];
  for (const service of services) {
    const specs = (model: Model) => ({ ambassador: specFor(model, service, 'ambassador'), sidecar: specFor(model, service, 'sidecar') });
    const [was, is] = [specs(before), specs(after)];
    for (const setting of admission) {
      for (const from of ['ambassador', 'sidecar'] as const) {
        const to = otherPlace[from];
        const hasLeft = was[from][setting] !== undefined && is[from][setting] === undefined;
        if (hasLeft && is[to][setting] !== undefined) moves.push({ setting, service, from, to });
      }
    }
  }
  return moves;
}

/**
 * The model between two: as the one after, but what moves is still in the place that it leaves too. Whoever gets this one first and the
 * other when it is in force is never without.
 */
export function bridge(before: Model, after: Model, moves: readonly Move[]): Model {
  return after.with(
    moves.map(({ setting, service, from }): Policy => {
      const { name, spec } = before.policies.find((policy) => holds(policy.placement, from) && policy.target.services.includes(service) && policy.spec[setting] !== undefined)!;
      const stays = setting === 'authorization' ? tokensOf(before, after, service, from) : {};
      return { kind: 'Policy', name: `${name} leaves with ${setting} of ${service}`, placement: from, target: { services: [service] }, spec: { ...stays, [setting]: spec[setting] } };
    }),
  );
}

/** Rules about claims need tokens that are checked in their place, also where `jwt` was in both and only leaves it. */
function tokensOf(before: Model, after: Model, service: string, place: Place): Pick<Policy['spec'], 'jwt'> {
  const { jwt } = specFor(before, service, place);
  return jwt === undefined || specFor(after, service, place).jwt !== undefined ? {} : { jwt };
}
