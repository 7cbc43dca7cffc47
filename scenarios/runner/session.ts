import { setTimeout as pause } from 'node:timers/promises';
import type { Fault } from '../services/fault.js';
import type { StatsDocument } from '../services/stats.js';
import { instancesOf, routes, serviceResources, services } from '../lab/declaration.js';
import type { Lab } from '../lab/lab.js';
import { startLoad, type RunningLoad } from '../load/load.js';
import type { LoadResult, LoadSpec } from '../load/spec.js';
import type { ClaimPolicy, Placement } from './claim.js';

interface Begin {
  /** The zone of each instance, by its id. */
  readonly zones?: Readonly<Record<string, string>> | undefined;
  /** Which of the two groups of applications the gateway leads to; by default the one that the placement uses. */
  readonly group?: 'bare' | 'meshed' | undefined;
}

/** What claims do with the lab: set policies and faults, send load, count. */
export class LabSession {
  /** Loads sent and policies used since the last `begin`, for the parity of variants. */
  readonly sent: LoadSpec[] = [];
  readonly used: (readonly ClaimPolicy[])[] = [];
  readonly #running: Promise<LoadResult>[] = [];

  constructor(
    readonly lab: Lab,
    readonly seed: number,
  ) {}

  /** Begins a variant: its policies, the zones of instances, and the gateway's routes where the placement wants them. */
  async begin(placement: Placement, policies: readonly ClaimPolicy[], { zones = {}, group }: Begin = {}): Promise<void> {
    this.sent.length = 0;
    this.used.length = 0;
    await this.#api('POST', '/v1/apply', [...serviceResources((unit, port) => new URL(this.lab.url(unit, port)).host, zones), ...routes(group ?? (usesSidecars(placement) ? 'meshed' : 'bare'))]);
    await this.use(placement, policies);
  }

  /** Puts policies at a placement in place of those that are there; resolves when every proxy has accepted. */
  async use(placement: Placement, policies: readonly ClaimPolicy[]): Promise<void> {
    this.used.push(policies);
    await this.#clearPolicies();
    await this.#api('POST', '/v1/apply', [identityNotAskedFor(policies), ...policies.flatMap((policy) => [...asResource(policy, placement, ''), ...asResource(policy, placement, '-bare')])]);
    const status = (await this.#api('GET', '/v1/status?settled=true&timeout=10s')) as { proxies: { node: string; rejected?: { reason: string }; rejections?: { reason: string }[] }[] };
    const rejected = status.proxies.filter((proxy) => proxy.rejected !== undefined || proxy.rejections !== undefined);
    if (rejected.length > 0) throw new Error(`snapshots were rejected: ${rejected.map(({ node, rejected: whole, rejections: parts }) => `${node}: ${(whole ?? parts![0]!).reason}`).join('; ')}`);
    await Promise.all(this.#applications().map((id) => this.#control(id, 'DELETE', '/_stats')));
  }

  async #clearPolicies(): Promise<void> {
    const { items } = (await this.#api('GET', '/v1/policies')) as { items: { name: string }[] };
    for (const { name } of items) await this.#api('DELETE', `/v1/policies/${name}`);
  }

  /** Where a request for a service enters under a placement. */
  entry(service: string, placement: Placement): string[] {
    if (placement === 'ambassador' || placement === 'both') return [this.lab.url('gateway', 'http')];
    return this.inside(service, placement);
  }

  /** Where a caller that is already inside the network reaches a service: past the gateway, not past a sidecar. */
  inside(service: string, placement: Placement): string[] {
    return instancesOf(service).map((id) => (usesSidecars(placement) ? this.lab.url(`${id}-sidecar`, 'inbound') : this.lab.url(`${id}-bare`, 'app')));
  }

  async load(spec: Omit<LoadSpec, 'seed'>): Promise<LoadResult> {
    return (await this.start(spec)).result;
  }

  /** Starts a load that something is done beside; resolves when it has begun. */
  async start(spec: Omit<LoadSpec, 'seed'>): Promise<RunningLoad> {
    const seeded = { ...spec, seed: this.seed };
    this.sent.push(seeded);
    const running = await startLoad(seeded);
    this.#running.push(running.result);
    return running;
  }

  /** Ends a variant: no fault stays, and no load goes on into the next one, if the claim threw in the middle of it. */
  async end(): Promise<void> {
    await this.clearFaults();
    await Promise.allSettled(this.#running);
  }

  /** The instances of a service that a placement uses. */
  instances(service: string, placement: Placement): string[] {
    return instancesOf(service).map((id) => (usesSidecars(placement) ? id : `${id}-bare`));
  }

  async setFault(unit: string, fault: Partial<Fault>): Promise<void> {
    await this.#control(unit, 'PUT', '/_fault', fault);
  }

  async clearFaults(): Promise<void> {
    await Promise.all(this.#applications().map((id) => this.#control(id, 'DELETE', '/_fault').catch(() => {})));
  }

  /** Takes the fault from one unit. */
  async heal(unit: string): Promise<void> {
    await this.#control(unit, 'DELETE', '/_fault');
  }

  async resetStats(): Promise<void> {
    await Promise.all(this.#applications().map((id) => this.#control(id, 'DELETE', '/_stats')));
  }

  /** What a unit received so far; undefined while it is down. */
  async stats(unit: string): Promise<StatsDocument | undefined> {
    return (await this.#control(unit, 'GET', '/_stats').catch(() => undefined)) as StatsDocument | undefined;
  }

  /** The sum of what some units received. */
  async received(units: readonly string[]): Promise<StatsDocument> {
    const all = await Promise.all(units.map((unit) => this.stats(unit)));
    const add = (into: Record<string, number>, from: Readonly<Record<string, number>>): Record<string, number> => {
      for (const [key, count] of Object.entries(from)) into[key] = (into[key] ?? 0) + count;
      return into;
    };
    return all.filter((stats) => stats !== undefined).reduce<StatsDocument>(
      (sum, stats) => ({
        received: sum.received + stats.received,
        byTag: add({ ...sum.byTag }, stats.byTag), bySubject: add({ ...sum.bySubject }, stats.bySubject),
        finishedByTag: add({ ...sum.finishedByTag }, stats.finishedByTag), stoppedByTag: add({ ...sum.stoppedByTag }, stats.stoppedByTag), workedMsByTag: add({ ...sum.workedMsByTag }, stats.workedMsByTag),
      }),
      { received: 0, byTag: {}, bySubject: {}, finishedByTag: {}, stoppedByTag: {}, workedMsByTag: {} },
    );
  }

  /** A token of the shop's issuer. */
  async token(request: { sub: string; scope?: string; audience?: string; expiresInSeconds?: number }): Promise<string> {
    const { access_token: token } = (await json(`${this.lab.url('issuer', 'app')}/token`, 'POST', request)) as { access_token: string };
    return token;
  }

  async rotateKeys(): Promise<void> {
    await json(`${this.lab.url('issuer', 'app')}/rotate`, 'POST', {});
  }

  /** Kills the control plane; resolves when it is gone. It comes back by itself after a while. */
  async killControlPlane(): Promise<void> {
    await this.lab.kill('control-plane');
    while (await this.isControlPlaneThere()) await pause(50);
  }

  async isControlPlaneThere(): Promise<boolean> {
    try {
      return (await fetch(`${this.lab.url('control-plane', 'api')}/readyz`, { signal: AbortSignal.timeout(1_000) })).ok;
    } catch {
      return false;
    }
  }

  /** Resolves when the control plane answers and every proxy has its stream again; rejects after a while. */
  async untilControlPlaneIsBack(): Promise<void> {
    const proxies = this.lab.units.filter(({ role }) => role === 'gateway' || role === 'sidecar').length;
    for (const until = Date.now() + 30_000; Date.now() < until; await pause(100)) {
      if (!(await this.isControlPlaneThere())) continue;
      const status = (await this.#api('GET', '/v1/status').catch(() => ({ proxies: [] }))) as { proxies: { connected: boolean }[] };
      if (status.proxies.filter(({ connected }) => connected).length >= proxies) return;
    }
    throw new Error('the control plane did not come back with all of its proxies');
  }

  /** Puts one policy elsewhere, and changes nothing else; resolves when every proxy has accepted. */
  async place({ name, services: targets, spec }: ClaimPolicy, placement: Placement): Promise<void> {
    await this.#api('PUT', `/v1/policies/${name}`, { placement, target: { services: targets }, spec });
    await this.#api('GET', '/v1/status?settled=true&timeout=10s');
  }

  /** The sum of a metric over units of a role; labels as they are written, in order. */
  async metric(role: 'gateway' | 'sidecar', series: RegExp): Promise<number> {
    const texts = await Promise.all(this.lab.units.filter((unit) => unit.role === role).map(async ({ id }) => (await fetch(`${this.lab.url(id, 'admin')}/metrics`)).text()));
    return texts.flatMap((text) => text.split('\n').filter((line) => series.test(line))).reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' '))), 0);
  }

  get issuer(): string {
    return this.lab.url('issuer', 'app');
  }

  #applications(): string[] {
    return services.flatMap((service) => [...this.instances(service, 'none'), ...this.instances(service, 'sidecar')]);
  }

  #control(unit: string, method: string, path: string, body?: object): Promise<unknown> {
    return json(this.lab.url(unit, 'control') + path, method, body);
  }

  #api(method: string, path: string, body?: object): Promise<unknown> {
    return json(this.lab.url('control-plane', 'api') + path, method, body, this.lab.adminToken);
  }
}

/**
 * Sidecars ask nobody who he is, unless a claim is about that: placements are compared with the same on the wire, and loads are sent straight
 * to sidecars.
 */
function identityNotAskedFor(policies: readonly ClaimPolicy[]): object {
  const asked = new Set(policies.filter(({ spec }) => spec.mtls !== undefined).flatMap((policy) => policy.services));
  return { kind: 'Policy', name: 'identity-not-asked-for', placement: 'sidecar', target: { services: services.filter((service) => !asked.has(service)) }, spec: { mtls: { mode: 'off' } } };
}

/** A policy for one of the two groups of applications: the services that it names are the group's too. */
function asResource({ name, services: targets, spec: { mtls, ...spec } }: ClaimPolicy, placement: Placement, group: '' | '-bare'): object[] {
  const inGroup = <T extends { readonly upstream: string }>(to: T): T => ({ ...to, upstream: to.upstream + group });
  const { split, divert, mirror } = spec;
  // Only a sidecar can ask who calls its application: the bare ones have nobody, and the gateway’s callers are strangers.
  const identity = group === '' && placement !== 'ambassador' && mtls !== undefined ? { mtls } : {};
  if (Object.keys({ ...identity, ...spec }).length === 0) return [];
  return [{
    kind: 'Policy', name: name + group, placement, target: { services: targets.map((service) => service + group) },
    spec: { ...identity, ...spec, ...(split && { split: split.map(inGroup) }), ...(divert && { divert: divert.map(inGroup) }), ...(mirror && { mirror: inGroup(mirror) }) },
  }];
}

function usesSidecars(placement: Placement): boolean {
  return placement === 'sidecar' || placement === 'both';
}

/** Resolves at a time by the clock of `performance.now()`, at once when it is over. */
export function until(time: number): Promise<void> {
  return pause(Math.max(0, time - performance.now()));
}

async function json(url: string, method: string, body?: object, token?: string): Promise<unknown> {
  const response = await fetch(url, {
    method,
    signal: AbortSignal.timeout(15_000),
    headers: { ...(body && { 'content-type': 'application/json' }), ...(token !== undefined && { authorization: `Bearer ${token}` }) },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${new URL(url).pathname} answered ${response.status}: ${text.slice(0, 2_000)}`);
  return text === '' ? undefined : JSON.parse(text);
}
