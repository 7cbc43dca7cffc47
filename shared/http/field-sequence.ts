import { fieldKind, fieldName, kindsOf } from './field-names.js';

/** What is left of a sequence: its names, and where they were, as the first position and the one behind the last of each run of neighbours. */
export interface Remainder {
  readonly sequence: FieldSequence;
  readonly runs: readonly number[];
}

/**
 * The names of a message's fields, in their order: an immutable list that equal messages share.
 *
 * Messages of one client, or of one endpoint, have the same fields in the same order, with other values. So the lists form a tree, each
 * node one name longer than its parent, and a parser walks down it: that the next name is the one which came next the last time
 * is one comparison, where cutting the name out and looking it up would be an allocation and a hash. (JavaScript
 * engines keep the shapes of objects in the same way.)
 */
export class FieldSequence {
  /** Where the sequence most likely goes on. */
  likelyNext: FieldSequence | undefined;
  #next: Map<string, FieldSequence> | undefined;
  #names: readonly string[] | undefined;
  #remainders: Map<number, Remainder> | undefined;
  /** The sequence without names that it grew from. */
  readonly root: FieldSequence;

  constructor(
    private readonly parent: FieldSequence | undefined,
    /** The last name, as written, with its colon. */
    readonly label: string,
    /** The last name in lower case. */
    private readonly lower: string,
    /** Union of the kinds of all names (bits of `fieldKind`). */
    readonly kinds: number,
    /** Kinds of which there is more than one field. */
    readonly repeatedKinds: number,
    readonly size: number,
    /** Where the first field of each kind is, by the number of the kind's bit; meaningless for kinds that are not there. */
    readonly firsts: readonly number[],
  ) {
    this.root = parent === undefined ? this : parent.root;
  }

  /** Lower-case names. */
  get names(): readonly string[] {
    return (this.#names ??= this.#walk((node) => node.lower));
  }

  /** Names with their colons, as written. */
  get labels(): readonly string[] {
    return this.#walk((node) => node.label);
  }

  /** This sequence and one name more; undefined when that is no token. */
  then(written: string): FieldSequence | undefined {
    const likely = this.likelyNext;
    if (likely !== undefined && likely.label.length === written.length + 1 && likely.label.startsWith(written)) return likely;
    const next = this.#next?.get(written) ?? this.#grow(written);
    if (written.length <= maxKeptLength) this.likelyNext = next;
    return next;
  }

  /** What is left without names of `kinds` (bits of `fieldKind`): the same for all messages of this sequence, and so found once. */
  without(kinds: number): Remainder {
    let remainder = this.#remainders?.get(kinds);
    if (remainder === undefined) (this.#remainders ??= new Map()).set(kinds, (remainder = this.#remainderOf(kinds)));
    return remainder;
  }

  #remainderOf(kinds: number): Remainder {
    const { names, labels } = this;
    const runs: number[] = [];
    let sequence = this.root;
    names.forEach((name, index) => {
      if ((kindsOf(name) & kinds) !== 0) return;
      sequence = sequence.then(labels[index]!.slice(0, -1))!;
      if (runs.at(-1) === index) runs[runs.length - 1] = index + 1;
      else runs.push(index, index + 1);
    });
    return { sequence, runs };
  }

  #grow(written: string): FieldSequence | undefined {
    const name = fieldName(written);
    if (name === undefined) return undefined;
    const next = new FieldSequence(this, `${name.written}:`, name.lower, this.kinds | name.kinds, this.repeatedKinds | (this.kinds & name.kinds), this.size + 1, this.#firstsWith(name.kinds));
    // Names of this length are invented: kept, they would be what fills the memory.
    if (written.length > maxKeptLength) return next;
    if (count >= maxCount) {
      count = 0;
      for (const root of [noFields, noResponseFields]) {
        root.likelyNext = undefined;
        root.#next = undefined;
      }
    }
    count++;
    (this.#next ??= new Map()).set(name.written, next);
    return next;
  }

  #firstsWith(kinds: number): readonly number[] {
    const added = kinds & ~this.kinds;
    return added === 0 ? this.firsts : this.firsts.map((first, bit) => ((added & (1 << bit)) === 0 ? first : this.size));
  }

  #walk<T>(take: (node: FieldSequence) => T): T[] {
    const all = new Array<T>(this.size);
    let node: FieldSequence = this as FieldSequence;
    while (node.parent !== undefined) {
      all[node.size - 1] = take(node);
      node = node.parent;
    }
    return all;
  }
}

const noFirsts = new Array<number>(Object.keys(fieldKind).length).fill(-1);
/** The sequence of a message without fields, from which others grow. */
export const noFields = new FieldSequence(undefined, '', '', 0, 0, 0, noFirsts);
/** The same for responses, which do not begin as requests do: each kind has a likely way of its own. */
export const noResponseFields = new FieldSequence(undefined, '', '', 0, 0, 0, noFirsts);

/** Nodes of the tree. When there are too many it starts anew: whoever sends ever new names makes it smaller, not larger. */
let count = 0;
const maxCount = 10_000;
const maxKeptLength = 64;
