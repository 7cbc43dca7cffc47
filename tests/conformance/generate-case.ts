/** Uniform numbers in [0, 1) that depend on the seed alone (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = state;
    value = Math.imul(value ^ (value >>> 15), value | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const methods = ['GET', 'GET', 'GET', 'POST', 'POST', 'PUT', 'HEAD', 'OPTIONS', 'DELETE', 'PATCH', 'TRACE', 'CONNECT', 'get', 'BREW', 'G ET', 'GET\t', '', 'M-SEARCH', 'PROPFIND'];
const targets = ['/', '/', '/a', '/a/b?c=d', '/a/../b', '//a', '/%61', '/%2e%2e/a', '/a%2fb', '/a b', '*', 'a', 'http://shop/a', 'http://shop', 'https://SHOP:1/x?y', 'http:///a', 'shop:80', '/a#b', '/\x01', '/\xe9', '/a\\b', '/?', '/a;b=c/d', `/${'x'.repeat(300)}`];
const versions = ['HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0', 'HTTP/1.2', 'HTTP/2.0', 'HTTP/0.9', 'http/1.1', 'HTTP/1.1 ', 'HTTP/11', 'HTTP/1.', '', 'HTTP/1.1\t'];
const endings = ['\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\r\n', '\n', '\r', '\r\r\n', '\n\r', '\r\n\r\n', '\0\r\n', ' \r\n'];
const fields = [
  'Accept: */*', 'X-A: 1', 'X-A: 2', 'x-a:3', 'X-Empty:', 'X-Space:   a   ', 'X-Tab: a\tb', 'X-High: \xe9', 'User-Agent: fuzz', 'Cookie: a=b; c=d', 'Connection: close', 'Connection: keep-alive',
  'Connection: X-A', 'Connection: keep-alive, x-a', 'Upgrade: websocket', 'TE: trailers', 'Trailer: X-T', 'Expect: 100-continue', 'Expect: other', 'Keep-Alive: timeout=5', 'Proxy-Connection: close', 'X-Long: ' + 'y'.repeat(500),
];
const evilFields = [
  'X A: 1', 'X-B : 1', ' X-C: 1', '\tX-D: 1', ': 1', 'novalue', 'X-N: \0', 'X-C: \x01', 'X-D: \x7f', 'X-E: \x0b', 'X(: 1', '"X": 1', 'X\xe9: 1', 'Host: other', 'Host:', 'Host: a b', 'Host: sh/op', 'Host: user@shop',
];
const lengths = ['0', '1', '5', '5', '10', '05', '+5', '-1', '0x5', '5.0', '5, 5', '5 5', '', ' 5', '5 ', '99999999999999999999', 'five', '5;', '"5"', '\t5'];
const codings = ['chunked', 'chunked', 'chunked', 'Chunked', 'CHUNKED', 'gzip, chunked', 'chunked, gzip', 'chunked, chunked', 'identity', 'xchunked', 'chunked ', '\tchunked', ',chunked', 'chunked,', '"chunked"', 'chunked;a=b', '', 'chunked\x0b', 'ch\xfcnked'];
const bodies = ['', 'hello', 'hello world', '5\r\nhello\r\n0\r\n\r\n', '5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n', '5;a=b\r\nhello\r\n0\r\n\r\n', '5 \r\nhello\r\n0\r\n\r\n', '5\nhello\n0\n\n', '05\r\nhello\r\n00\r\n\r\n', '0\r\nX-T: 1\r\n\r\n', '0\r\n\r\n', '0x5\r\nhello\r\n0\r\n\r\n',
  '3\r\nhello\r\n0\r\n\r\n', '+5\r\nhello\r\n0\r\n\r\n', 'A\r\n0123456789\r\n0\r\n\r\n', '5\r\nhello0\r\n\r\n', '5;a="b;c"\r\nhello\r\n0\r\n\r\n', '0\r\nbad\r\n\r\n', '5\r\nhello\r\n0\r\n', '-1\r\n\r\n', 'g\r\n\r\n', '5;\r\nhello\r\n0\r\n\r\n', '0\r\nContent-Length: 5\r\n\r\nhello', '\r\n'];

/** A request, mostly near the border of what is valid. The same numbers give the same request. */
export function generateCase(random: () => number): string {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!;
  const ending = (): string => (random() < 0.98 ? '\r\n' : pick(endings));
  const usually = <T>(usual: T, items: readonly T[], share = 0.85): T => (random() < share ? usual : pick(items));
  const lines: string[] = [];
  if (random() < 0.95) lines.push('Host: shop');
  for (let count = Math.floor(random() * 4); count > 0; count--) lines.push(random() < 0.9 ? pick(fields) : pick(evilFields));
  const framing = random();
  if (framing < 0.3) lines.push(`${usually('Content-Length', ['content-length', 'Content-Length ', 'CONTENT-LENGTH', 'Content_Length', '\tContent-Length'], 0.9)}:${usually(' ', ['', '\t', '  '])}${usually('5', lengths, 0.5)}`);
  if (framing > 0.2 && framing < 0.55) lines.push(`${usually('Transfer-Encoding', ['transfer-encoding', 'Transfer-Encoding ', 'TRANSFER-ENCODING', 'Transfer_Encoding', ' Transfer-Encoding'], 0.9)}:${usually(' ', ['', '\t', '  '])}${usually('chunked', codings, 0.6)}`);
  if (random() < 0.04) lines.push(`Content-Length: ${pick(lengths)}`);
  if (random() < 0.03) lines.push(`Transfer-Encoding: ${pick(codings)}`);
  // Shuffled: the order of fields must not matter to where a body ends.
  for (let index = lines.length - 1; index > 0; index--) {
    const other = Math.floor(random() * (index + 1));
    [lines[index], lines[other]] = [lines[other]!, lines[index]!];
  }
  const method = usually(framing < 0.55 ? 'POST' : 'GET', methods);
  const head = `${method}${usually(' ', ['  ', '\t', ''], 0.98)}${usually('/', targets)}${usually(' ', ['  ', '\t', ''], 0.98)}${usually('HTTP/1.1', versions, 0.9)}${ending()}${lines.map((line) => line + ending()).join('')}${ending()}`;
  const body = framing < 0.2 ? usually('hello', bodies, 0.6) : framing < 0.55 ? usually('5\r\nhello\r\n0\r\n\r\n', bodies, 0.5) : usually('', bodies, 0.95);
  return mutate(head + body, random);
}

/** Now and then single bytes are removed, doubled, exchanged or put in. */
function mutate(text: string, random: () => number): string {
  if (random() < 0.8) return text;
  const strange = ['\r', '\n', '\0', ' ', '\t', ':', ',', ';', '%', '/', '\x7f', '\xff', '0', 'a', '\r\n'];
  const at = Math.floor(random() * text.length);
  const kind = random();
  if (kind < 0.25) return text.slice(0, at) + text.slice(at + 1);
  if (kind < 0.5) return text.slice(0, at) + text[at]! + text.slice(at);
  const byte = strange[Math.floor(random() * strange.length)]!;
  return kind < 0.75 ? text.slice(0, at) + byte + text.slice(at) : text.slice(0, at) + byte + text.slice(at + 1);
}
