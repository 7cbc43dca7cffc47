import { fieldName, kindsOf } from './field-names.js';

/**
 * The fields of one message, in the order and spelling in which they came.
 *
 * A proxy forwards most fields untouched, so the text they came in is kept whole, and goes out whole as long as
 * nothing in it is removed or replaced; what is added stands behind it. `names` holds the lower-case names for matching:
 * they are interned, which makes a lookup a walk over a handful of pointer comparisons. Duplicates are kept.
 */
export class Headers {
  readonly #names: string[];
  /** Lines without CRLF. Those that came as text are cut out of it when one is asked for. */
  #lines: string[];
  /** The first fields as one text, each line with its CRLF; `#ends[i]` is the offset behind the i-th line's CRLF. */
  #text: string;
  #ends: number[];
  /** Union of the kinds of all fields, and perhaps of some that were removed. */
  #kinds: number;

  private constructor(names: string[], lines: string[], text: string, ends: number[], kinds: number) {
    this.#names = names;
    this.#lines = lines;
    this.#text = text;
    this.#ends = ends;
    this.#kinds = kinds;
  }

  static empty(): Headers {
    return new Headers([], [], '', noEnds, 0);
  }

  /** `names` are lower-case and interned; `ends` are the offsets in `text` behind each line; `kinds` is the union of the names'. */
  static parsed(text: string, names: string[], ends: number[], kinds: number): Headers {
    return new Headers(names, [], text, ends, kinds);
  }

  static of(fields: Readonly<Record<string, string>>): Headers {
    const headers = Headers.empty();
    for (const [name, value] of Object.entries(fields)) headers.append(name, value);
    return headers;
  }

  get size(): number {
    return this.#names.length;
  }

  has(name: string): boolean {
    return this.#names.includes(name);
  }

  /** The first value of the field, without surrounding whitespace. `name` is lower-case. */
  get(name: string): string | undefined {
    const index = this.#names.indexOf(name);
    return index === -1 ? undefined : this.#valueAt(index);
  }

  getAll(name: string): string[] {
    const values: string[] = [];
    this.#names.forEach((other, index) => {
      if (other === name) values.push(this.#valueAt(index));
    });
    return values;
  }

  /** All values of a list-valued field as one, or undefined (RFC 9110 section 5.3). */
  getCombined(name: string): string | undefined {
    const values = this.getAll(name);
    return values.length === 0 ? undefined : values.join(', ');
  }

  /** Adds a field after those that are there. The caller vouches for name and value. */
  append(name: string, value: string): void {
    this.#push(name, value);
  }

  /** Replaces every occurrence of the field by one, in the place of the first. */
  set(name: string, value: string): void {
    const lower = fieldName(name)!.lower;
    const index = this.#names.indexOf(lower);
    if (index === -1) {
      this.#push(name, value);
      return;
    }
    this.#takeApart();
    this.#lines[index] = `${name}: ${value}`;
    this.#deleteFrom(lower, index + 1);
  }

  /** Removes every occurrence. `name` is lower-case. */
  delete(name: string): void {
    this.#deleteFrom(name, 0);
  }

  /** Removes every field of one of `kinds` (bits of `fieldKind`). */
  deleteKind(kinds: number): void {
    if ((this.#kinds & kinds) === 0) return;
    for (let index = this.#names.length - 1; index >= 0; index--) {
      if ((kindsOf(this.#names[index]!) & kinds) !== 0) this.#remove(index);
    }
    this.#kinds &= ~kinds;
  }

  clone(): Headers {
    return new Headers(this.#names.slice(), this.#lines.slice(), this.#text, this.#ends, this.#kinds);
  }

  /** The fields as they go on the wire, each line with its CRLF. */
  toWire(): string {
    const lines = this.#lines;
    let wire = this.#text;
    for (let index = 0; index < lines.length; index++) wire += lines[index]! + '\r\n';
    return wire;
  }

  /** Lower-case name and value of each field, in order. */
  *[Symbol.iterator](): IterableIterator<[name: string, value: string]> {
    for (let index = 0; index < this.#names.length; index++) yield [this.#names[index]!, this.#valueAt(index)];
  }

  toObject(): Record<string, string> {
    const object: Record<string, string> = {};
    for (const [name] of this) object[name] ??= this.getCombined(name)!;
    return object;
  }

  #push(name: string, value: string): void {
    const { lower, kinds } = fieldName(name)!;
    this.#names.push(lower);
    this.#lines.push(`${name}: ${value}`);
    this.#kinds |= kinds;
  }

  #valueAt(index: number): string {
    const nameLength = this.#names[index]!.length;
    const ends = this.#ends;
    if (index >= ends.length) return this.#lines[index - ends.length]!.slice(nameLength + 1).trim();
    return this.#text.slice((index === 0 ? 0 : ends[index - 1]!) + nameLength + 1, ends[index]! - 2).trim();
  }

  #deleteFrom(name: string, start: number): void {
    for (let index = this.#names.indexOf(name, start); index !== -1; index = this.#names.indexOf(name, index)) {
      this.#remove(index);
    }
  }

  #remove(index: number): void {
    this.#takeApart();
    this.#names.splice(index, 1);
    this.#lines.splice(index, 1);
  }

  /** From text to single lines. */
  #takeApart(): void {
    const ends = this.#ends;
    if (ends.length === 0) return;
    const lines = ends.map((end, index) => this.#text.slice(index === 0 ? 0 : ends[index - 1]!, end - 2));
    this.#lines = lines.concat(this.#lines);
    this.#text = '';
    this.#ends = noEnds;
  }
}

const noEnds: number[] = [];
