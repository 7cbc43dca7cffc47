import { hash32, mix32 } from './hash.js';

interface Weighted {
  readonly name: string;
  readonly weight: number;
}

/** Points of the heaviest candidate, and of all together at most. */
const maxPointsEach = 512;
const maxPoints = 65_536;
/** A point is its place on the ring times this, plus the position of whose it is: 32 and 20 bits of a double's 53. */
const positions = 2 ** 20;

/**
 * A ring for consistent hashing (Karger 1997, ketama).
 *
 * Each candidate stands at many points of a circle of 2³² places, as many as its weight says relative to the heaviest; a key
 * belongs to whoever stands at the first point from the key's own place on. The points follow from the candidate's
 * name alone. So when one goes, its keys go to those who stand behind its points, and no other key moves; when one comes,
 * it takes its share from all of them. The number of points each halves when the number of candidates
 * passes a power of two beyond 128: only then does a change move a few keys more.
 */
export class Ring {
  private constructor(private readonly points: Float64Array) {}

  static of(candidates: readonly Weighted[]): Ring {
    const heaviest = Math.max(...candidates.map(({ weight }) => weight));
    const each = Math.min(maxPointsEach, 2 ** Math.floor(Math.log2(Math.max(1, maxPoints / candidates.length))));
    const counts = candidates.map(({ weight }) => Math.max(1, Math.round((each * weight) / heaviest)));
    const points = new Float64Array(counts.reduce((sum, count) => sum + count, 0));
    let filled = 0;
    candidates.forEach(({ name }, position) => {
      const start = hash32(name, 0);
      // A stride of its own: with a common one, two names whose starts lie a few strides apart would share their points.
      const stride = hash32(name, 1) | 1;
      for (let index = 0; index < counts[position]!; index++) points[filled++] = mix32(start + Math.imul(index, stride)) * positions + position;
    });
    return new Ring(points.sort());
  }

  get size(): number {
    return this.points.length;
  }

  /** The ring without the points of positions that do not pass. */
  only(passes: (position: number) => boolean): Ring {
    return new Ring(this.points.filter((point) => passes(point % positions)));
  }

  /** The first point at or behind a place, as an index for `at`. */
  find(place: number): number {
    const { points } = this;
    const target = place * positions;
    let low = 0;
    let high = points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (points[middle]! < target) low = middle + 1;
      else high = middle;
    }
    return low === points.length ? 0 : low;
  }

  /** Whose the point is; an index beyond the end goes round. */
  at(index: number): number {
    return this.points[index % this.points.length]! % positions;
  }
}
