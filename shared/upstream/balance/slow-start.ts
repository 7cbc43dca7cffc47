import type { SlowStartConfig } from '../../config/balance.js';

interface Warming {
  weight: number;
  readonly config: { readonly weight: number };
  readonly endpoint: { readonly availableSince: number };
}

/**
 * The part of its weight that an endpoint has at an age: Envoy's formula
 * (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/slow_start),
 * max(minimum, (max(age, 1 s) / window)^(1 / aggression)).
 */
export function warmth({ window, minWeight, aggression }: SlowStartConfig, ageMs: number): number {
  if (ageMs >= window) return 1;
  return Math.min(1, Math.max(minWeight / 100, (Math.max(ageMs, 1_000) / window) ** (1 / aggression)));
}

/**
 * Sets the weights that hold now. Returns the clock reading at which they must be set anew: they grow in a hundred steps over the window, so
 * that between two steps choosing costs what it always does; Infinity when nobody is warming up.
 */
export function weigh(members: readonly Warming[], config: SlowStartConfig | undefined, now: number): number {
  let isWarming = false;
  for (const member of members) {
    const age = now - member.endpoint.availableSince;
    member.weight = member.config.weight * (config === undefined ? 1 : warmth(config, age));
    if (config !== undefined && age < config.window) isWarming = true;
  }
  return isWarming ? now + Math.max(shortestStepMs, config!.window / 100) : Infinity;
}

const shortestStepMs = 20;
