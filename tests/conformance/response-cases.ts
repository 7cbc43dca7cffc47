/* What a client gets for the bytes of an upstream. Every case runs against every listener. */

interface ResponseCase {
  readonly name: string;
  /** What the upstream answers every request with, before it closes the connection. */
  readonly send: string;
  /** `METHOD` of the request; default GET. */
  readonly method?: string;
  /** What the client gets: a whole answer, the error's code, or an answer that visibly breaks off. */
  readonly outcome: { readonly status: number; readonly body: string } | { readonly code: string } | 'truncated';
}

const ok = 'HTTP/1.1 200 OK\r\n';
const broken = (cases: Readonly<Record<string, string>>): ResponseCase[] => Object.entries(cases).map(([name, send]) => ({ name, send, outcome: { code: 'upstream_protocol' } }));
const fine = (cases: Readonly<Record<string, readonly [send: string, status: number, body: string]>>): ResponseCase[] =>
  Object.entries(cases).map(([name, [send, status, body]]) => ({ name, send, outcome: { status, body } }));

export const responseCases: readonly ResponseCase[] = [
  ...fine({
    'an answer with a length': [`${ok}Content-Length: 5\r\n\r\nhello`, 200, 'hello'],
    'an answer in chunks': [`${ok}Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n`, 200, 'hello'],
    'an answer that ends with the connection': [`${ok}\r\nhello`, 200, 'hello'],
    'an answer of HTTP/1.0': ['HTTP/1.0 200 OK\r\n\r\nhello', 200, 'hello'],
    'an answer without a reason phrase': ['HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello', 200, 'hello'],
    'an answer with an empty reason phrase': ['HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello', 200, 'hello'],
    'an answer with a reason phrase above ASCII': ['HTTP/1.1 200 Tr\xe8s bien\r\nContent-Length: 5\r\n\r\nhello', 200, 'hello'],
    'a status that is not registered': ['HTTP/1.1 299 Odd\r\nContent-Length: 5\r\n\r\nhello', 299, 'hello'],
    'an interim answer before the answer': [`HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n${ok}Content-Length: 5\r\n\r\nhello`, 200, 'hello'],
    'several interim answers': [`HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n${ok}Content-Length: 0\r\n\r\n`, 200, ''],
    'bytes behind the answer, which are dropped': [`${ok}Content-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`, 200, 'hello'],
    'an answer of length zero': [`${ok}Content-Length: 0\r\n\r\n`, 200, ''],
  }),
  { name: 'an answer to HEAD with a length and no body', send: `${ok}Content-Length: 5\r\n\r\n`, method: 'HEAD', outcome: { status: 200, body: '' } },
  { name: 'an answer to HEAD with a body, which is dropped', send: `${ok}Content-Length: 5\r\n\r\nhello`, method: 'HEAD', outcome: { status: 200, body: '' } },
  ...broken({
    'both Content-Length and Transfer-Encoding': `${ok}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
    'two differing Content-Lengths': `${ok}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`,
    'two equal Content-Lengths': `${ok}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello`,
    'a list of Content-Lengths': `${ok}Content-Length: 5, 5\r\n\r\nhello`,
    'a Content-Length that is no number': `${ok}Content-Length: five\r\n\r\nhello`,
    'a negative Content-Length': `${ok}Content-Length: -1\r\n\r\nhello`,
    'a transfer coding that is not chunked': `${ok}Transfer-Encoding: gzip\r\n\r\nhello`,
    'chunked that is not last': `${ok}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`,
    'a Transfer-Encoding in HTTP/1.0': 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'no status line': 'hello there\r\n\r\n',
    'a status of two digits': 'HTTP/1.1 20 OK\r\n\r\n',
    'a status of four digits': 'HTTP/1.1 2000 OK\r\n\r\n',
    'a status below 100': 'HTTP/1.1 099 OK\r\n\r\n',
    'a status of no class': 'HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n',
    'the highest of three digits': 'HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n',
    'interim answers without end': `HTTP/1.1 103 Early Hints\r\nLink: ${'a'.repeat(1_000)}\r\n\r\n`.repeat(70),
    'a status that is no number': 'HTTP/1.1 abc OK\r\n\r\n',
    'HTTP/2 as a version': 'HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n',
    'a lower-case protocol': 'http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
    'two spaces in the status line': 'HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n',
    'a bare LF': 'HTTP/1.1 200 OK\nContent-Length: 0\n\n',
    'a bare CR in a value': `${ok}X: a\rb\r\nContent-Length: 0\r\n\r\n`,
    'a NUL in a value': `${ok}X: a\0\r\nContent-Length: 0\r\n\r\n`,
    'an obs-fold': `${ok}X: a\r\n b\r\nContent-Length: 0\r\n\r\n`,
    'a space before a colon': `${ok}Content-Length : 0\r\n\r\n`,
    'a field line without a colon': `${ok}nonsense\r\n\r\n`,
    'a switch of protocols nobody asked for': 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n',
    'a head that is too large': `${ok}X: ${'a'.repeat(70_000)}\r\n\r\n`,
    'a request instead of an answer': 'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
  }),
  { name: 'nothing', send: '', outcome: { code: 'upstream_reset' } },
  { name: 'half a head', send: 'HTTP/1.1 200 OK\r\nConte', outcome: { code: 'upstream_reset' } },
  { name: 'an interim answer and nothing more', send: 'HTTP/1.1 103 Early Hints\r\n\r\n', outcome: { code: 'upstream_reset' } },
  { name: 'a body that is cut off', send: `${ok}Content-Length: 100\r\n\r\nhalf`, outcome: 'truncated' },
  { name: 'chunks that are cut off', send: `${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n`, outcome: 'truncated' },
  { name: 'a chunk that is cut off', send: `${ok}Transfer-Encoding: chunked\r\n\r\n8\r\nhalf`, outcome: 'truncated' },
  { name: 'chunks without their last CRLF', send: `${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n`, outcome: 'truncated' },
  { name: 'a chunk size that is none', send: `${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxyz\r\n`, outcome: { code: 'upstream_protocol' } },
  { name: 'a chunk longer than its size', send: `${ok}Transfer-Encoding: chunked\r\n\r\n4\r\nhalfhalf\r\n0\r\n\r\n`, outcome: { code: 'upstream_protocol' } },
];
