import type { Balancer, BalancerDependencies, Candidate, Chooser } from './balancer.js';
import { weightedDraw } from './weighted-draw.js';

/** Draws by weight, whatever the endpoints are doing. */
export function pickRandom({ random }: BalancerDependencies): Balancer {
  function prepare<T extends Candidate>(usable: readonly T[]): Chooser<T> {
    const draw = weightedDraw(usable, random);
    return function pickRandom(request, exchange, tried) {
      if (tried.length > 0) return chooseFresh(prepare, usable, request, exchange, tried);
      return usable[draw()];
    };
  }
  return { prepare };
}

/** For choosers that draw: a retry is rare, and gets one of its own made, without what was tried. */
export function chooseFresh<T extends Candidate>(prepare: (usable: readonly T[]) => Chooser<T>, usable: readonly T[], ...[request, exchange, tried]: Parameters<Chooser<T>>): T | undefined {
  const fresh = usable.filter(({ name }) => !tried.includes(name));
  return fresh.length === 0 ? undefined : prepare(fresh)(request, exchange, []);
}
