/* The part of Redis' protocol (RESP2) that the shop needs. */

export type Reply = string | number | null | Error | readonly Reply[];

export function encodeCommand(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`;
}

/** Longest reply that is taken; the shop's are of some bytes, INFO of some thousand. */
const maxBytes = 1 << 20;

/** Cuts what arrives into replies, or into commands, which look the same. Throws at what is neither. */
export class RespReader {
  #held: Buffer = Buffer.alloc(0);

  constructor(private readonly limit = maxBytes) {}

  take(data: Buffer): Reply[] {
    this.#held = this.#held.length === 0 ? data : Buffer.concat([this.#held, data]);
    if (this.#held.length > this.limit) throw new Error(`a reply is longer than ${this.limit} bytes`);
    const replies: Reply[] = [];
    for (let found = this.#parse(0); found !== undefined; found = this.#parse(0)) {
      replies.push(found.reply);
      this.#held = this.#held.subarray(found.end);
    }
    return replies;
  }

  #parse(at: number): { reply: Reply; end: number } | undefined {
    const lineEnd = this.#held.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const line = this.#held.toString('utf8', at + 1, lineEnd);
    const [end, size] = [lineEnd + 2, Number(line)];
    switch (String.fromCharCode(this.#held[at]!)) {
      case '+':
        return { reply: line, end };
      case '-':
        return { reply: new Error(line), end };
      case ':':
        return { reply: size, end };
      case '$':
        if (size < 0) return { reply: null, end };
        return this.#held.length < end + size + 2 ? undefined : { reply: this.#held.toString('utf8', end, end + size), end: end + size + 2 };
      case '*':
        return this.#parseArray(size, end);
      default:
        throw new Error('what arrived is not Redis’ protocol');
    }
  }

  #parseArray(size: number, start: number): { reply: Reply; end: number } | undefined {
    const items: Reply[] = [];
    let end = start;
    while (items.length < size) {
      const item = this.#parse(end);
      if (item === undefined) return undefined;
      items.push(item.reply);
      end = item.end;
    }
    return { reply: items, end };
  }
}
