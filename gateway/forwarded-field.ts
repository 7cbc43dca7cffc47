/** Names in lower case, values without their quotes. */
type ForwardedElement = ReadonlyMap<string, string>;

/**
 * The elements of `Forwarded` (RFC 7239 section 4), the last one first.
 *
 * Each proxy writes behind what it was sent. So the lines are read from the last one, and each from its end: how an element is read
 * depends on nothing that somebody further away wrote, such as a quote that is never closed. What is no element ends it, since
 * nobody vouches for what stands in front of that (section 8.1). Takes one way through the text, whatever it is.
 */
export function* elementsFromLast(lines: readonly string[]): Generator<ForwardedElement> {
  for (let index = lines.length - 1; index >= 0; index--) {
    const line = lines[index]!;
    let end = line.length;
    while (end >= 0) {
      const read = elementBefore(line, end);
      if (read === undefined) return;
      if (read.element.size > 0) yield read.element;
      end = read.start - 1;
    }
  }
}

/** The element that ends at `end`, up to the comma in front of it. */
function elementBefore(line: string, end: number): { element: ForwardedElement; start: number } | undefined {
  const element = new Map<string, string>();
  for (let at = end; ; at--) {
    at = beforeBlanks(line, at);
    if (at > 0 && line[at - 1] !== ',' && line[at - 1] !== ';') {
      const pair = pairBefore(line, at);
      if (pair === undefined || element.has(pair.name)) return undefined;
      element.set(pair.name, pair.value);
      at = beforeBlanks(line, pair.start);
    }
    if (at === 0 || line[at - 1] === ',') return { element, start: at };
    if (line[at - 1] !== ';') return undefined;
  }
}

function pairBefore(line: string, end: number): { name: string; value: string; start: number } | undefined {
  const isQuoted = line[end - 1] === '"';
  const valueStart = isQuoted ? openingQuote(line, end - 1) : beforeAll(bare, line, end);
  if (valueStart < 1 || valueStart === end || line[valueStart - 1] !== '=') return undefined;
  const start = beforeAll(tokenCharacter, line, valueStart - 1);
  if (start === valueStart - 1) return undefined;
  const value = isQuoted ? line.slice(valueStart + 1, end - 1).replace(/\\(.)/g, '$1') : line.slice(valueStart, end);
  return { name: line.slice(start, valueStart - 1).toLowerCase(), value, start };
}

/** Addresses with brackets and ports are to be quoted, and often are not. */
const bare = /[^\s;,="]/;
const tokenCharacter = /[\w!#$%&'*+.^`|~-]/;

/** Where the quote is that the one at `closing` closes; -1 when there is none. */
function openingQuote(line: string, closing: number): number {
  if (isEscaped(line, closing)) return -1;
  for (let at = closing - 1; at >= 0; at--) if (line[at] === '"' && !isEscaped(line, at)) return at;
  return -1;
}

function isEscaped(line: string, at: number): boolean {
  let start = at;
  while (line[start - 1] === '\\') start--;
  return (at - start) % 2 === 1;
}

function beforeAll(characters: RegExp, line: string, end: number): number {
  let at = end;
  while (at > 0 && characters.test(line[at - 1]!)) at--;
  return at;
}

function beforeBlanks(line: string, end: number): number {
  let at = end;
  while (at > 0 && (line[at - 1] === ' ' || line[at - 1] === '\t')) at--;
  return at;
}
