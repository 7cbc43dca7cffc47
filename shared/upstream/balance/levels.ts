interface Placed {
  readonly config: { readonly priority: number; readonly zone: string | undefined };
}

/** Endpoints that are equally near. */
export interface Level<T> {
  readonly priority: number;
  /** Whether they are in the proxy's own zone; undefined where zones do not matter. */
  readonly isOwnZone: boolean | undefined;
  readonly members: readonly T[];
}

/** Orders members into levels: by priority, and within one the own zone before all others. */
export function levelsOf<T extends Placed>(members: readonly T[], zone: string | undefined): Level<T>[] {
  const levels: Level<T>[] = [];
  for (const priority of [...new Set(members.map(({ config }) => config.priority))].sort((a, b) => a - b)) {
    const all = members.filter(({ config }) => config.priority === priority);
    const own = zone === undefined ? [] : all.filter(({ config }) => config.zone === zone);
    if (own.length > 0) levels.push({ priority, isOwnZone: true, members: own });
    if (own.length < all.length) levels.push({ priority, isOwnZone: zone === undefined ? undefined : false, members: own.length === 0 ? all : all.filter(({ config }) => config.zone !== zone) });
  }
  return levels;
}

export interface Share {
  /** Part of the traffic, 0 to 1. */
  readonly load: number;
  /** Whether health is ignored in the level: all its endpoints get it whose breaker is closed. */
  readonly isPanic: boolean;
}

interface ShareOptions {
  /** A level keeps all its traffic until its healthy part times this falls below 1. */
  readonly overprovisioning: number;
  /** Part (0 to 1) of healthy endpoints below which health is ignored; 0: never. */
  readonly panicThreshold: number;
}

/**
 * Divides traffic between levels, the nearest first.
 *
 * The algorithm is Envoy's for priorities
 * (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority, and panic_threshold beside it), with a
 * proxy's own zone as a priority of its own, as Istio's locality failover has it:
 *
 * 1. A level can bear min(1, overprovisioning × healthy / all) of the traffic. With 1.4, up to 28 % of a level may be
 *    lost before it gives anything away.
 * 2. Each level in turn takes what it can bear of what is left. What comes back to health takes its traffic back.
 * 3. When all together cannot bear everything, they take it in proportion to what they can, and a level with fewer
 *    healthy endpoints than the panic threshold spreads its part over all its endpoints: the few would break
 *    under it, or the health that was reported is wrong. When every level is so, their sizes decide.
 *
 * Envoy has no breakers that open: here, an endpoint whose breaker is not `closed` is none of the healthy, and panic does not reach it.
 */
export function sharesOf(levels: readonly { readonly healthy: number; readonly closed: number; readonly total: number }[], { overprovisioning, panicThreshold }: ShareOptions): Share[] {
  const bearable = levels.map(({ healthy, total }) => Math.min(1, (overprovisioning * healthy) / total));
  const together = Math.min(1, bearable.reduce((sum, part) => sum + part, 0));
  const isPanic = levels.map(({ healthy, total }) => together < 1 && healthy / total < panicThreshold);
  if (isPanic.every(Boolean)) {
    const all = levels.reduce((sum, { closed }) => sum + closed, 0);
    return levels.map(({ closed }) => ({ load: all === 0 ? 0 : closed / all, isPanic: true }));
  }
  let left = 1;
  return bearable.map((part, index) => {
    const load = together === 0 ? 0 : Math.min(left, part / together);
    left = Math.max(0, left - load);
    return { load, isPanic: isPanic[index]! };
  });
}
