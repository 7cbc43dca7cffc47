interface Weighted {
  readonly weight: number;
}

export function haveEqualWeights(candidates: readonly Weighted[]): boolean {
  return candidates.every(({ weight }) => weight === candidates[0]!.weight);
}

/**
 * Draws positions of a list with probabilities in proportion to weights, in constant time.
 *
 * Walker's alias method, filled as Vose does (1991): the list's n equal slots are each shared by at most two positions, one
 * that has less than its slot and one that has more. A draw takes a slot, and then one of the two. With equal
 * weights the slot is the position.
 */
export function weightedDraw(candidates: readonly Weighted[], random: () => number): () => number {
  const count = candidates.length;
  if (haveEqualWeights(candidates)) return () => Math.floor(random() * count);
  const total = candidates.reduce((sum, { weight }) => sum + weight, 0);
  /** The part of a slot that is its own position's, and whose the rest is. */
  const part = Float64Array.from(candidates, ({ weight }) => (weight * count) / total);
  const other = Uint32Array.from(candidates, (_, index) => index);
  const small: number[] = [];
  const large: number[] = [];
  part.forEach((share, index) => (share < 1 ? small : large).push(index));
  while (small.length > 0 && large.length > 0) {
    const under = small.pop()!;
    const over = large.pop()!;
    other[under] = over;
    part[over] = part[over]! + part[under]! - 1;
    (part[over] < 1 ? small : large).push(over);
  }
  return () => {
    const point = random() * count;
    const slot = Math.floor(point);
    return point - slot < part[slot]! ? slot : other[slot]!;
  };
}
