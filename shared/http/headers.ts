import { fieldKind, fieldName, kindsOf } from './field-names.js';
import { noFields, type FieldSequence } from './field-sequence.js';

/**
 * The fields of one message, in the order and spelling in which they came.
 *
 * A proxy forwards most fields untouched, so they are kept as the text they came in, each line with its CRLF, and go out as it:
 * what is added stands behind, in a text of its own. Names are matched in lower case. Duplicates are kept.
 */
export class Headers {
  #sequence: FieldSequence;
  #text: string;
  /** Offsets behind each line, in `#text` and what is added to it taken as one. */
  #ends: number[];
  #added = '';

  private constructor(sequence: FieldSequence, text: string, ends: number[]) {
    this.#sequence = sequence;
    this.#text = text;
    this.#ends = ends;
  }

  static empty(): Headers {
    return new Headers(noFields, '', []);
  }

  /** `ends` are the offsets in `text` behind each line. */
  static parsed(text: string, sequence: FieldSequence, ends: number[]): Headers {
    return new Headers(sequence, text, ends);
  }

  static of(fields: Readonly<Record<string, string>>): Headers {
    const headers = Headers.empty();
    for (const [name, value] of Object.entries(fields)) headers.append(name, value);
    return headers;
  }

  get size(): number {
    return this.#sequence.size;
  }

  /** Whether there may be a field of one of `kinds` (bits of `fieldKind`): the cheapest question that can be asked. */
  hasKind(kinds: number): boolean {
    return (this.#sequence.kinds & kinds) !== 0;
  }

  /** Whether there is more than one field of one of `kinds`. */
  repeatsKind(kinds: number): boolean {
    return (this.#sequence.repeatedKinds & kinds) !== 0;
  }

  has(name: string): boolean {
    return this.#sequence.names.includes(name);
  }

  /** How often the field occurs. `name` is lower-case. */
  count(name: string): number {
    const { names } = this.#sequence;
    let count = 0;
    for (let index = names.indexOf(name); index !== -1; index = names.indexOf(name, index + 1)) count++;
    return count;
  }

  /** The first value of the field, without surrounding whitespace. `name` is lower-case. */
  get(name: string): string | undefined {
    const index = this.#sequence.names.indexOf(name);
    return index === -1 ? undefined : this.#valueAt(index);
  }

  /** The first value of a field of `kind`, one bit of `fieldKind`: cheaper than by name, where a kind has one name. */
  getKind(kind: number): string | undefined {
    const { kinds, firsts } = this.#sequence;
    return (kinds & kind) === 0 ? undefined : this.#valueAt(firsts[31 - Math.clz32(kind)]!);
  }

  getAll(name: string): string[] {
    const { names } = this.#sequence;
    const values: string[] = [];
    for (let index = names.indexOf(name); index !== -1; index = names.indexOf(name, index + 1)) values.push(this.#valueAt(index));
    return values;
  }

  /** All values of a list-valued field as one, or undefined (RFC 9110 section 5.3). */
  getCombined(name: string): string | undefined {
    const { names } = this.#sequence;
    const first = names.indexOf(name);
    if (first === -1) return undefined;
    return names.indexOf(name, first + 1) === -1 ? this.#valueAt(first) : this.getAll(name).join(', ');
  }

  /** Adds a field after those that are there. The caller vouches for name and value. */
  append(name: string, value: string): void {
    const sequence = this.#sequence.then(name)!;
    this.#sequence = sequence;
    this.#added += `${sequence.label} ${value}\r\n`;
    this.#ends.push(this.#text.length + this.#added.length);
  }

  /** Adds several fields at once, as `append` would. */
  appendAll({ names, text, ends }: PreparedFields): void {
    const start = this.#text.length + this.#added.length;
    let sequence = this.#sequence;
    for (let index = 0; index < names.length; index++) {
      sequence = sequence.then(names[index]!)!;
      this.#ends.push(start + ends[index]!);
    }
    this.#sequence = sequence;
    this.#added += text;
  }

  /** Replaces every occurrence of the field by one, in the place and the spelling of the first. */
  set(name: string, value: string): void {
    const { names } = this.#sequence;
    const { lower } = fieldName(name)!;
    const index = names.indexOf(lower);
    if (index === -1) {
      this.append(name, value);
      return;
    }
    if (names.indexOf(lower, index + 1) !== -1) this.#keep((other, position) => other !== lower || position === index);
    const text = this.toWire();
    const start = index === 0 ? 0 : this.#ends[index - 1]!;
    const end = this.#ends[index]!;
    const line = `${text.slice(start, text.indexOf(':', start))}: ${value}\r\n`;
    this.#text = text.slice(0, start) + line + text.slice(end);
    this.#added = '';
    const growth = line.length - (end - start);
    if (growth === 0) return;
    for (let position = index; position < this.#ends.length; position++) this.#ends[position]! += growth;
  }

  /** Removes every occurrence. `name` is lower-case. */
  delete(name: string): void {
    if (this.has(name)) this.#keep((other) => other !== name);
  }

  /** Removes every field of one of `kinds` (bits of `fieldKind`). */
  deleteKind(kinds: number): void {
    if ((this.#sequence.kinds & kinds) === 0) return;
    const { sequence, runs } = this.#sequence.without(kinds);
    const text = this.toWire();
    const ends = this.#ends;
    const keptEnds: number[] = [];
    let kept = '';
    for (let run = 0; run < runs.length; run += 2) {
      const from = runs[run]!;
      const to = runs[run + 1]!;
      const start = from === 0 ? 0 : ends[from - 1]!;
      const shift = kept.length - start;
      kept += text.slice(start, ends[to - 1]);
      for (let position = from; position < to; position++) keptEnds.push(ends[position]! + shift);
    }
    this.#sequence = sequence;
    this.#text = kept;
    this.#added = '';
    this.#ends = keptEnds;
  }

  /** Removes every field of one of `kinds` whose name is written with a `_`. */
  deleteUnderscored(kinds: number): void {
    if (this.hasKind(fieldKind.underscored)) this.deleteUnderscoredIf((name) => (kindsOf(name) & kinds) !== 0);
  }

  /** Removes every field whose name is written with a `_`, and is unwanted. `isUnwanted` gets it in lower case. */
  deleteUnderscoredIf(isUnwanted: (name: string) => boolean): void {
    if (this.hasKind(fieldKind.underscored)) this.#keep((name) => !name.includes('_') || !isUnwanted(name));
  }

  clone(): Headers {
    return new Headers(this.#sequence, this.toWire(), this.#ends.slice());
  }

  /** The fields as they go on the wire, each line with its CRLF. */
  toWire(): string {
    return this.#text + this.#added;
  }

  /** Lower-case name and value of each field, in order. */
  *[Symbol.iterator](): IterableIterator<[name: string, value: string]> {
    const { names } = this.#sequence;
    for (let index = 0; index < names.length; index++) yield [names[index]!, this.#valueAt(index)];
  }

  toObject(): Record<string, string> {
    const object: Record<string, string> = {};
    for (const [name] of this) object[name] ??= this.getCombined(name)!;
    return object;
  }

  #valueAt(index: number): string {
    const from = (index === 0 ? 0 : this.#ends[index - 1]!) + this.#sequence.names[index]!.length + 1;
    const to = this.#ends[index]! - 2;
    const { length } = this.#text;
    return to < length ? trimmed(this.#text, from, to) : trimmed(this.#added, from - length, to - length);
  }

  /** Leaves only the fields that `wanted` says. */
  #keep(wanted: (name: string, index: number) => boolean): void {
    const { names, labels } = this.#sequence;
    const text = this.toWire();
    const ends = this.#ends;
    let kept = '';
    let sequence = this.#sequence.root;
    this.#ends = [];
    names.forEach((name, index) => {
      if (!wanted(name, index)) return;
      kept += text.slice(index === 0 ? 0 : ends[index - 1]!, ends[index]);
      sequence = sequence.then(labels[index]!.slice(0, -1))!;
      this.#ends.push(kept.length);
    });
    this.#sequence = sequence;
    this.#text = kept;
    this.#added = '';
  }
}

/** `text[from, to)` without whitespace around it (RFC 9110 section 5.5). Nearly always that is one space in front. */
function trimmed(text: string, from: number, to: number): string {
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (from < to && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 32 || code === 9;
}

/** Fields that are added to many messages, made once. */
export class PreparedFields {
  readonly names: readonly string[];
  readonly text: string;
  /** Offsets behind each line. */
  readonly ends: readonly number[];

  /** The caller vouches for names and values. */
  constructor(fields: readonly (readonly [name: string, value: string])[]) {
    const ends: number[] = [];
    let text = '';
    for (const [name, value] of fields) {
      text += `${name}: ${value}\r\n`;
      ends.push(text.length);
    }
    this.names = fields.map(([name]) => name);
    this.text = text;
    this.ends = ends;
  }
}
