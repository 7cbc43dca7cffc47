/** Picks an index by weight, from a number that is uniform in [0, 1). */
export function byWeight(weights: readonly number[]): (uniform: number) => number {
  let total = 0;
  const ends = weights.map((weight) => (total += weight));
  return (uniform) => {
    const point = uniform * total;
    let index = 0;
    while (point >= ends[index]!) index++;
    return index;
  };
}

export interface Weighted {
  readonly name: string;
  readonly weight: number;
}

/**
 * Picks an index by weight, from the hash of a key: weighted rendezvous hashing (Mosko et al., HRW with weights).
 *
 * Each side draws a number u in (0, 1) for the key, of the key and its own name, and the one with the greatest
 * weight / -ln(u) wins: a race of exponential clocks, which a side wins with the probability of its share. Raising one side's weight moves keys
 * to that side only, and as few as its new share needs; a side that comes or goes moves no key between the others;
 * the order of the sides means nothing.
 */
export function byHash(sides: readonly Weighted[]): (hash: number) => number {
  const seeds = sides.map(({ name }) => hashOf(name));
  const weights = sides.map(({ weight }) => weight);
  return (hash) => {
    let best = 0;
    let bestScore = -1;
    for (let index = 0; index < seeds.length; index++) {
      if (weights[index] === 0) continue;
      const uniform = (mixed(hash ^ seeds[index]!) + 0.5) / 2 ** 32;
      const score = weights[index]! / -Math.log(uniform);
      if (score > bestScore) {
        bestScore = score;
        best = index;
      }
    }
    return best;
  };
}

/** 32 bits of a text: FNV-1a, and MurmurHash3's last step, since FNV alone leaves the high bits of short keys alike. */
export function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return mixed(hash);
}

function mixed(hash: number): number {
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
