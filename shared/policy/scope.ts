/** What the state of a policy belongs to: a quota, a limit, a budget, a latency. */
export interface Scope {
  /** In log and metrics; several may have the same. */
  readonly name: string;
  /** Of two keys none shares anything. */
  readonly key: string;
}

/** For what has a name that nothing else has. */
export function scopeNamed(name: string): Scope {
  return { name, key: name };
}
