/** Where the path of a target in origin form ends: its query, or its length. */
export function pathEnd(target: string): number {
  const question = target.indexOf('?');
  return question === -1 ? target.length : question;
}

/**
 * Cuts off as many segments of a target's path as `prefix` has, with their parameters, which routes are matched without:
 * for `/api`, `/api;v=1/x?y` leaves `/x?y`. The target is normalised and has at least as many.
 */
export function behindPrefix(prefix: string): (target: string) => string {
  const segments = prefix.split('/').filter((segment) => segment !== '').length;
  return (target) => {
    const end = pathEnd(target);
    let from = 0;
    for (let left = segments; left > 0; left--) {
      const slash = target.indexOf('/', from + 1);
      from = slash === -1 || slash > end ? end : slash;
    }
    return target.slice(from);
  };
}
