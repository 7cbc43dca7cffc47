import type { Problem } from '../../shared/config/load.js';
import { authorizationProblems } from './check-authorization.js';
import type { Identity, Kind, Policy, Resource, Route, Service } from './resources.js';

/** All resources of one version. Immutable: a change makes a new model. */
export class Model {
  static readonly empty = new Model(new Map());

  /** All resources, and those of each kind, by name. */
  readonly all: readonly Resource[];
  readonly services: readonly Service[];
  readonly routes: readonly Route[];
  readonly policies: readonly Policy[];
  readonly identities: readonly Identity[];
  /** Made when it is asked for first: most models are never compiled. */
  #policiesOf: ReadonlyMap<string, readonly Policy[]> | undefined;

  private constructor(private readonly resources: ReadonlyMap<string, Resource>) {
    this.all = [...resources].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, resource]) => resource);
    this.services = this.all.filter((resource) => resource.kind === 'Service');
    this.routes = this.all.filter((resource) => resource.kind === 'Route');
    this.policies = this.all.filter((resource) => resource.kind === 'Policy');
    this.identities = this.all.filter((resource) => resource.kind === 'Identity');
  }

  static of(resources: readonly Resource[]): Model {
    return Model.empty.with(resources);
  }

  get(kind: Kind, name: string): Resource | undefined {
    return this.resources.get(`${kind}/${name}`);
  }

  /** The policies for a service, in the order of `policies`. */
  policiesOf(service: string): readonly Policy[] {
    this.#policiesOf ??= byService(this.policies);
    return this.#policiesOf.get(service) ?? [];
  }

  /** With these resources added, or in place of those of the same kind and name. */
  with(resources: readonly Resource[]): Model {
    return new Model(new Map([...this.resources, ...resources.map((resource) => [key(resource), resource] as const)]));
  }

  /** What is wrong with the resources as a whole: dangling names, and policies that contradict each other. */
  problems(): Problem[] {
    const names = new Set(this.services.map((service) => service.name));
    const problems: Problem[] = authorizationProblems(this.policies);
    for (const route of this.routes) {
      if (!names.has(route.service)) problems.push({ path: `Route/${route.name}.service`, message: `there is no service "${route.service}"` });
    }
    for (const service of this.services) {
      for (const called of service.calls ?? []) if (!names.has(called)) problems.push({ path: `Service/${service.name}.calls`, message: `there is no service "${called}"` });
    }
    const claimed = new Map<string, string>();
    for (const policy of this.policies) {
      // It says what the service's own sidecars take; a gateway can neither do that for them nor do without it.
      if (policy.spec.mtls !== undefined && policy.placement === 'ambassador') {
        problems.push({ path: `Policy/${policy.name}.placement`, message: 'mtls acts in the sidecars of the service: expected sidecar, both or none, or a policy of its own for mtls' });
      }
      for (const [setting, service] of servicesIn(policy)) {
        if (!names.has(service)) problems.push({ path: `Policy/${policy.name}.spec.${setting}.upstream`, message: `there is no service "${service}"` });
      }
      for (const service of policy.target.services) {
        if (!names.has(service)) problems.push({ path: `Policy/${policy.name}.target.services`, message: `there is no service "${service}"` });
        for (const place of policy.placement === 'both' ? ['ambassador', 'sidecar'] : policy.placement === 'none' ? [] : [policy.placement]) {
          for (const setting of Object.keys(policy.spec)) {
            const other = claimed.get(`${place} ${service} ${setting}`);
            if (other !== undefined) problems.push({ path: `Policy/${policy.name}.spec.${setting}`, message: `Policy/${other} sets ${setting} for service "${service}" at the ${place} too` });
            claimed.set(`${place} ${service} ${setting}`, policy.name);
          }
        }
      }
    }
    return [...problems, ...identityProblems(this.identities, names)];
  }
}

/** A gateway has a name, but is no service; and a token that proves two names would prove neither. */
function identityProblems(identities: readonly Identity[], services: ReadonlySet<string>): Problem[] {
  const problems: Problem[] = [];
  const claimed = new Map<string, Identity>();
  for (const identity of identities) {
    const { name, service, workload } = identity;
    if (service !== 'gateway' && !services.has(service)) problems.push({ path: `Identity/${name}.service`, message: `there is no service "${service}"` });
    if (workload === undefined) continue;
    const proof = JSON.stringify([workload.issuer, workload.subject, workload.audience]);
    const other = claimed.get(proof);
    if (other !== undefined) problems.push({ path: `Identity/${name}.workload`, message: `Identity/${other.name} is proven by the same issuer, subject and audience` });
    claimed.set(proof, other ?? identity);
  }
  return problems;
}

/** The services that a policy sends requests to beside those that it is for, with where it says so. */
export function servicesIn({ spec: { split = [], divert = [], mirror } }: Policy): [setting: string, service: string][] {
  const each = (setting: string, ways: readonly { readonly upstream: string }[]): [string, string][] => ways.map(({ upstream }, index) => [`${setting}[${index}]`, upstream]);
  return [...each('split', split), ...each('divert', divert), ...(mirror === undefined ? [] : [['mirror', mirror.upstream] as [string, string]])];
}

/** Each policy once, however often it names a service. */
function byService(policies: readonly Policy[]): Map<string, Policy[]> {
  const found = new Map<string, Policy[]>();
  for (const policy of policies) {
    for (const service of new Set(policy.target.services)) {
      const known = found.get(service);
      if (known === undefined) found.set(service, [policy]);
      else known.push(policy);
    }
  }
  return found;
}

function key({ kind, name }: Resource): string {
  return `${kind}/${name}`;
}
