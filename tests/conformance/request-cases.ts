/*
 * What a listener does with the bytes of a client: one case a line, judged by what the client gets and by what the
 * origin behind the listener saw. Every case runs against every listener.
 */

export interface RequestCase {
  readonly name: string;
  /** What the client sends on one connection. */
  readonly send: string;
  /** The statuses of the answers, in order. Anything that is not expected here is an error. */
  readonly statuses: readonly number[];
  /** Requests that the origin saw, as `METHOD target body`; default: none if the first status is an error, otherwise not looked at. */
  readonly origin?: readonly string[] | undefined;
  /** Fields, `name: value`, that the origin saw with the first request; a leading `!` says that it must not have seen a field of that name. */
  readonly fields?: readonly string[];
  /** The case is about bytes that come at once. */
  readonly inOnePiece?: true;
  /** What the whole answer must match. */
  readonly answer?: RegExp;
}

const host = 'Host: shop\r\n';
const close = 'Connection: close\r\n';
/** Sent behind every refused request: if it is answered, the listener lost its place. */
export const smuggled = `GET /smuggled HTTP/1.1\r\n${host}${close}\r\n`;

const get = (target: string, fields = ''): string => `GET ${target} HTTP/1.1\r\n${host}${fields}\r\n`;
const last = (target: string, fields = ''): string => get(target, fields + close);
const post = (fields: string, body = '', target = '/'): string => `POST ${target} HTTP/1.1\r\n${host}${fields}\r\n${body}`;
const chunked = (body: string, fields = ''): string => post(`Transfer-Encoding: chunked\r\n${fields}`, body);

/** A request that is answered with `status`, alone, and of which nothing goes further. */
const refused = (status: number, cases: Readonly<Record<string, string>>): RequestCase[] =>
  Object.entries(cases).map(([name, send]) => ({ name: `refuses ${name}`, send: send + smuggled, statuses: [status], origin: [] }));

const framing = refused(400, {
  'both Content-Length and Transfer-Encoding': post('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'both, the other way round': post('Transfer-Encoding: chunked\r\nContent-Length: 5\r\n', '0\r\n\r\n'),
  'both, with a length of zero': post('Content-Length: 0\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'two differing Content-Lengths': post('Content-Length: 5\r\nContent-Length: 6\r\n', 'hello'),
  'two equal Content-Lengths': post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello'),
  'a list of equal Content-Lengths': post('Content-Length: 5, 5\r\n', 'hello'),
  'a list of differing Content-Lengths': post('Content-Length: 5, 6\r\n', 'hello'),
  'a Content-Length with a plus': post('Content-Length: +5\r\n', 'hello'),
  'a negative Content-Length': post('Content-Length: -5\r\n', 'hello'),
  'a hexadecimal Content-Length': post('Content-Length: 0x5\r\n', 'hello'),
  'a Content-Length with a fraction': post('Content-Length: 5.0\r\n', 'hello'),
  'a Content-Length with an exponent': post('Content-Length: 5e0\r\n', 'hello'),
  'a Content-Length with a space inside': post('Content-Length: 5 5\r\n', 'hello'),
  'a Content-Length in quotes': post('Content-Length: "5"\r\n', 'hello'),
  'a Content-Length with an underscore': post('Content-Length: 1_0\r\n', 'hello'),
  'a Content-Length behind a no-break space': post('Content-Length: \xa05\r\n', 'hello'),
  'a Content-Length before a no-break space': post('Content-Length: 5\xa0\r\n', 'hello'),
  'an empty Content-Length': post('Content-Length: \r\n'),
  'a Content-Length beyond 2^53': post('Content-Length: 99999999999999999999\r\n'),
  'a Content-Length beyond 2^64': post('Content-Length: 18446744073709551621\r\n', 'hello'),
  'a transfer coding before chunked': post('Transfer-Encoding: gzip, chunked\r\n', '0\r\n\r\n'),
  'a transfer coding after chunked': post('Transfer-Encoding: chunked, identity\r\n', '0\r\n\r\n'),
  'chunked twice': post('Transfer-Encoding: chunked, chunked\r\n', '0\r\n\r\n'),
  'two Transfer-Encodings': post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'two Transfer-Encodings, one hidden': post('Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'Transfer-Encoding: identity': post('Transfer-Encoding: identity\r\n'),
  'Transfer-Encoding: gzip': post('Transfer-Encoding: gzip\r\n'),
  'an empty Transfer-Encoding': post('Transfer-Encoding: \r\n', '0\r\n\r\n'),
  'a disguised Transfer-Encoding': post('Transfer-Encoding: xchunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding in quotes': post('Transfer-Encoding: "chunked"\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding with a parameter': post('Transfer-Encoding: chunked;q=1\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding behind a vertical tab': post('Transfer-Encoding: \x0bchunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding behind a no-break space': post('Transfer-Encoding: \xa0chunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding behind a comma': post('Transfer-Encoding: ,chunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding in HTTP/1.0': `POST / HTTP/1.0\r\n${host}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  'a Transfer-Encoding with a space before its colon': post('Transfer-Encoding : chunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding with a tab before its colon': post('Transfer-Encoding\t: chunked\r\n', '0\r\n\r\n'),
  'a Content-Length with a space before its colon': post('Content-Length : 5\r\n', 'hello'),
  'a Transfer-Encoding on a folded line': post('X: 1\r\n Transfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding whose value is folded': post('Transfer-Encoding:\r\n chunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding behind a bare LF': post('X: 1\nTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'a Transfer-Encoding behind a bare CR': post('X: 1\rTransfer-Encoding: chunked\r\n', '0\r\n\r\n'),
  'a Content-Length on GET that is malformed': `GET / HTTP/1.1\r\n${host}Content-Length: x\r\n\r\n`,
});

const syntax = refused(400, {
  'a space before the colon': get('/', 'X : 1\r\n'),
  'an obs-fold': get('/', 'X-A: 1\r\n 2\r\n'),
  'an obs-fold with a tab': get('/', 'X-A: 1\r\n\t2\r\n'),
  'a first field line that starts with a space': 'GET / HTTP/1.1\r\n Host: shop\r\n\r\n',
  'a field line without a colon': get('/', 'X-A\r\n'),
  'an empty field name': get('/', ': x\r\n'),
  'a field name with a parenthesis': get('/', 'X(A): x\r\n'),
  'a field name with a slash': get('/', 'X/A: x\r\n'),
  'a field name with a quotation mark': get('/', '"X": x\r\n'),
  'a field name with a space': get('/', 'X A: x\r\n'),
  'a field name with a byte above ASCII': get('/', 'X\xe4: x\r\n'),
  'a field name with a NUL': get('/', 'X\0: x\r\n'),
  'a bare LF behind the request line': `GET / HTTP/1.1\n${host}\r\n`,
  'a bare LF behind a field': `GET / HTTP/1.1\r\nHost: shop\n\r\n`,
  'bare LFs throughout': 'GET / HTTP/1.1\nHost: shop\n\n',
  'an empty line that ends with LF': `GET / HTTP/1.1\r\n${host}\n`,
  'a bare CR in a value': get('/', 'X-A: a\rb\r\n'),
  'CR CR LF': get('/', 'X-A: a\r\r\n'),
  'a NUL in a value': get('/', 'X-A: a\0b\r\n'),
  'a control character in a value': get('/', 'X-A: a\x01b\r\n'),
  'an escape character in a value': get('/', 'X-A: \x1b[31m\r\n'),
  'a DEL in a value': get('/', 'X-A: a\x7fb\r\n'),
  'a vertical tab in a value': get('/', 'X-A: a\x0bb\r\n'),
  'no Host': 'GET / HTTP/1.1\r\n\r\n',
  'two Hosts': get('/', host),
  'two differing Hosts': get('/', 'Host: other\r\n'),
  'a Host with a path': 'GET / HTTP/1.1\r\nHost: shop/admin\r\n\r\n',
  'a Host with user information': 'GET / HTTP/1.1\r\nHost: me@shop\r\n\r\n',
  'a Host with a space': 'GET / HTTP/1.1\r\nHost: shop other\r\n\r\n',
  'a Host that is a list': 'GET / HTTP/1.1\r\nHost: shop, "other"\r\n\r\n',
  'a Host with a port that is none': 'GET / HTTP/1.1\r\nHost: shop:http\r\n\r\n',
  'a Host with two ports': 'GET / HTTP/1.1\r\nHost: shop:80:80\r\n\r\n',
  'a Host with an unclosed bracket': 'GET / HTTP/1.1\r\nHost: [::1\r\n\r\n',
  'a Host whose brackets hold no address': 'GET / HTTP/1.1\r\nHost: [1::2::3]\r\n\r\n',
  'a Host with a query': 'GET / HTTP/1.1\r\nHost: shop?x\r\n\r\n',
  'a Host with a fragment': 'GET / HTTP/1.1\r\nHost: shop#x\r\n\r\n',
  'a Host with a byte above ASCII': 'GET / HTTP/1.1\r\nHost: sh\xf6p\r\n\r\n',
  'two spaces before the target': `GET  / HTTP/1.1\r\n${host}\r\n`,
  'two spaces before the version': `GET /  HTTP/1.1\r\n${host}\r\n`,
  'a space behind the version': `GET / HTTP/1.1 \r\n${host}\r\n`,
  'a space before the method': ` GET / HTTP/1.1\r\n${host}\r\n`,
  'a tab in the request line': `GET\t/ HTTP/1.1\r\n${host}\r\n`,
  'no target': `GET HTTP/1.1\r\n${host}\r\n`,
  'no version': `GET /\r\n${host}\r\n`,
  'a lower-case method': `get / HTTP/1.1\r\n${host}\r\n`,
  'an unknown method': `BREW / HTTP/1.1\r\n${host}\r\n`,
  'a method with a suffix': `GETX / HTTP/1.1\r\n${host}\r\n`,
  'a method that is no token': `G(T / HTTP/1.1\r\n${host}\r\n`,
  'a lower-case protocol': `GET / http/1.1\r\n${host}\r\n`,
  'another protocol': `GET / ICY/1.1\r\n${host}\r\n`,
  'a version with two digits': `GET / HTTP/1.10\r\n${host}\r\n`,
  'a version without a minor one': `GET / HTTP/1\r\n${host}\r\n`,
  'a version with a comma': `GET / HTTP/1,1\r\n${host}\r\n`,
  'the beginning of a TLS handshake': '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
  'an answer instead of a request': 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  'a byte order mark': `\xef\xbb\xbfGET / HTTP/1.1\r\n${host}\r\n`,
});

const targets = refused(400, {
  'a target without a slash': `GET admin HTTP/1.1\r\n${host}\r\n`,
  'an asterisk for GET': `GET * HTTP/1.1\r\n${host}\r\n`,
  'an authority as the target of GET': `GET shop:80 HTTP/1.1\r\n${host}\r\n`,
  'a target with a space': `GET /a b HTTP/1.1\r\n${host}\r\n`,
  'a target with a byte above ASCII': `GET /caf\xe9 HTTP/1.1\r\n${host}\r\n`,
  'a target with a control character': `GET /a\x01 HTTP/1.1\r\n${host}\r\n`,
  'a fragment': get('/a#b'),
  'an encoded slash': get('/a%2fb'),
  'an encoded slash in upper case': get('/a%2Fb'),
  'an encoded backslash': get('/a%5cb'),
  'an encoded NUL': get('/a%00'),
  'a backslash': get('/a\\b'),
  'a backslash between dots': get('/a\\..\\b'),
  'an escape that is none': get('/%zz'),
  'an escape that is cut off': get('/a%2'),
  'a percent sign at the end': get('/a%'),
  'another scheme': `GET ftp://shop/ HTTP/1.1\r\n${host}\r\n`,
  'a scheme without a host': `GET http:///a HTTP/1.1\r\n${host}\r\n`,
  'user information in the target': `GET http://me:pw@shop/ HTTP/1.1\r\n${host}\r\n`,
  'a host with a backslash in the target': `GET http://shop\\@evil/ HTTP/1.1\r\n${host}\r\n`,
  'https without TLS': `GET https://shop/ HTTP/1.1\r\n${host}\r\n`,
  'parameters without a name before a path': get('/;/admin'),
  'parameters without a name within a path': get('/a/;x=1;y/admin'),
  'parameters that lose their name to a dot segment': get('/a/..;/;/admin'),
  'an escape in a host': `GET / HTTP/1.1\r\nHost: sho%70\r\n\r\n`,
  'a port that is none': `GET / HTTP/1.1\r\nHost: shop:65536\r\n\r\n`,
});

const chunks = refused(400, {
    'a chunk size that is not hexadecimal': chunked('xyz\r\nhello\r\n0\r\n\r\n'),
    'an empty chunk size': chunked('\r\nhello\r\n0\r\n\r\n'),
    'a chunk size with a plus': chunked('+5\r\nhello\r\n0\r\n\r\n'),
    'a chunk size with a minus': chunked('-5\r\nhello\r\n0\r\n\r\n'),
    'a chunk size with a prefix': chunked('0x5\r\nhello\r\n0\r\n\r\n'),
    'a chunk size of 64 bits': chunked('ffffffffffffffff\r\nhello'),
    'a chunk size that overflows 64 bits': chunked('10000000000000005\r\nhello\r\n0\r\n\r\n'),
    'a chunk size of a hundred digits': chunked(`${'0'.repeat(100)}5\r\nhello\r\n0\r\n\r\n`),
    'a chunk longer than its size': chunked('3\r\nhello\r\n0\r\n\r\n'),
    'a chunk shorter than its size': chunked('7\r\nhello\r\n0\r\n\r\n'),
    'a chunk line that ends with LF': chunked('5\nhello\r\n0\r\n\r\n'),
    'a chunk that ends with LF': chunked('5\r\nhello\n0\r\n\r\n'),
    'a chunk that ends with CR': chunked('5\r\nhello\r0\r\n\r\n'),
    'a space before a chunk size': chunked(' 5\r\nhello\r\n0\r\n\r\n'),
    'a space behind a chunk size': chunked('5 \r\nhello\r\n0\r\n\r\n'),
    'a tab behind a chunk size': chunked('5\t\r\nhello\r\n0\r\n\r\n'),
    'an underscore in a chunk size': chunked('1_0\r\nhello\r\n0\r\n\r\n'),
    'a chunk extension without a name': chunked('5;\r\nhello\r\n0\r\n\r\n'),
    'a chunk extension with a bare CR': chunked('5;a\rb\r\nhello\r\n0\r\n\r\n'),
    'a chunk extension with a bare LF': chunked('5;a\nb\r\nhello\r\n0\r\n\r\n'),
    'a chunk extension with an unclosed string': chunked('5;a="b\r\nhello\r\n0\r\n\r\n'),
    'a chunk extension without end': chunked(`5;${'a'.repeat(20_000)}`),
    'a trailer without a colon': chunked('0\r\nbad trailer\r\n\r\n'),
    'a trailer with a space before its colon': chunked('0\r\nX : 1\r\n\r\n'),
    'a trailer that is folded': chunked('0\r\nX: 1\r\n 2\r\n\r\n'),
    'a trailer that ends with LF': chunked('0\r\nX: 1\n\r\n'),
    'a last chunk that ends with LF': chunked('0\n\n'),
    'a Content-Length among the trailers': chunked('0\r\nContent-Length: 5\r\n\r\nhello'),
    'a Transfer-Encoding among the trailers': chunked('0\r\nTransfer-Encoding: chunked\r\n\r\n'),
    'a trailer with a NUL': chunked('0\r\nX: a\0\r\n\r\n'),
  }).map((refusal): RequestCase => ({ ...refusal, origin: undefined }));

const others: RequestCase[] = [
  ...refused(505, {
    'HTTP/2 as a version': `GET / HTTP/2.0\r\n${host}\r\n`,
    'HTTP/1.2': `GET / HTTP/1.2\r\n${host}\r\n`,
    'HTTP/0.9': `GET / HTTP/0.9\r\n${host}\r\n`,
    'the preface of HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  }),
  ...refused(405, {
    CONNECT: 'CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n\r\n',
    'CONNECT to a path': `CONNECT / HTTP/1.1\r\n${host}\r\n`,
  }),
  ...refused(417, { 'an unknown expectation': post('Expect: magic\r\nContent-Length: 1\r\n'), 'an expectation among others': post('Expect: 100-continue, magic\r\nContent-Length: 1\r\n') }),
  ...refused(431, {
    'a head that is too large': get('/', `X: ${'a'.repeat(5_000)}\r\n`),
    'too many fields': get('/', 'X: 1\r\n'.repeat(40)),
    'trailers that are too many': chunked(`0\r\n${'X: 1\r\n'.repeat(100)}\r\n`),
  }).map((refusal) => (refusal.name.includes('trailers') ? { ...refusal, origin: undefined } : refusal)),
  ...refused(414, { 'a target that is too long': get(`/${'a'.repeat(1_100)}`), 'a query that is too long': get(`/?${'a'.repeat(1_100)}`) }),
  ...refused(413, { 'a body that is announced as too large': post('Content-Length: 1001\r\n') }),
  { name: 'refuses chunks that add up to too much, mid-stream', send: chunked(`258\r\n${'a'.repeat(600)}\r\n258\r\n${'a'.repeat(600)}\r\n0\r\n\r\n`), statuses: [413] },
];

const forwarding: RequestCase[] = [
  { name: 'forwards a request as it came', send: last('/a?b=c&d'), statuses: [200], origin: ['GET /a?b=c&d '], fields: ['host: shop'] },
  { name: 'keeps order, case and duplicates of fields', send: last('/', 'X-One: 1\r\nx-two: 2\r\nX-One: 3\r\n'), statuses: [200], fields: ['X-One: 1', 'x-two: 2', 'X-One: 3'] },
  { name: 'keeps bytes above ASCII in values', send: last('/', 'X-A: caf\xe9\r\n'), statuses: [200], fields: ['X-A: caf\xe9'] },
  { name: 'keeps tabs inside values', send: last('/', 'X-A: a\tb\r\n'), statuses: [200], fields: ['X-A: a\tb'] },
  { name: 'takes a value that is empty', send: last('/', 'X-A:\r\n'), statuses: [200], fields: ['X-A: '] },
  { name: 'takes a value without space and with much', send: last('/', 'X-A:1\r\nX-B:   2   \r\n'), statuses: [200], fields: ['X-A: 1', 'X-B: 2'] },
  { name: 'takes every character of a token as a name', send: last('/', "!#$%&'*+-.^_`|~: x\r\n"), statuses: [200], fields: ["!#$%&'*+-.^_`|~: x"] },
  { name: 'ignores an empty line before a request', send: `\r\n${last('/')}`, statuses: [200], origin: ['GET / '] },
  { name: 'forwards a body with a length', send: post('Content-Length: 5\r\nConnection: close\r\n', 'hello'), statuses: [200], origin: ['POST / hello'] },
  { name: 'forwards a body of length zero', send: post('Content-Length: 0\r\nConnection: close\r\n'), statuses: [200], origin: ['POST / '], fields: ['content-length: 0'] },
  { name: 'takes leading zeros in a length', send: post('Content-Length: 005\r\nConnection: close\r\n', 'hello'), statuses: [200], origin: ['POST / hello'] },
  { name: 'forwards a body of GET', send: `GET / HTTP/1.1\r\n${host}${close}Content-Length: 2\r\n\r\nok`, statuses: [200], origin: ['GET / ok'] },
  { name: 'forwards a POST without a body', send: post(close), statuses: [200], origin: ['POST / '] },
  { name: 'forwards chunks', send: chunked('5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n', close), statuses: [200], origin: ['POST / hello world'], fields: ['transfer-encoding: chunked', '!content-length'] },
  { name: 'takes chunk sizes in either case and with zeros', send: chunked('00A\r\n0123456789\r\na\r\n0123456789\r\n000\r\n\r\n', close), statuses: [200], origin: ['POST / 01234567890123456789'] },
  { name: 'drops chunk extensions', send: chunked('5;name=value;flag;q="a;b"\r\nhello\r\n0;last\r\n\r\n', close), statuses: [200], origin: ['POST / hello'] },
  { name: 'takes Chunked in any case', send: post('Transfer-Encoding: CHUNKED\r\nConnection: close\r\n', '0\r\n\r\n'), statuses: [200], origin: ['POST / '] },
  { name: 'forwards trailers, but none that route or authenticate', send: chunked('0\r\nX-Sum: 1\r\nHost: evil\r\nAuthorization: x\r\n\r\n', `Trailer: X-Sum\r\n${close}`), statuses: [200], origin: ['POST /  trailers {"x-sum":"1"}'] },
  { name: 'forwards a body that comes with 100-continue at once', send: post('Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n', 'ok'), statuses: [200], origin: ['POST / ok'], fields: ['!expect'], inOnePiece: true },
  { name: 'ignores an expectation in HTTP/1.0', send: `POST / HTTP/1.0\r\n${host}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nok`, statuses: [200], origin: ['POST / ok'], fields: ['!expect'] },
  ...['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE', 'PROPFIND', 'REPORT', 'QUERY'].map((method): RequestCase => ({ name: `forwards ${method}`, send: `${method} /m HTTP/1.1\r\n${host}${close}\r\n`, statuses: [200], origin: [`${method} /m `] })),
  { name: 'forwards QUERY of a type that is none', send: `QUERY /m HTTP/1.1\r\n${host}Content-Type: a b\r\nContent-Length: 2\r\n${close}\r\nhi`, statuses: [200], origin: ['QUERY /m hi'], fields: ['content-type: a b'] },
  { name: 'makes OPTIONS * of OPTIONS for a host', send: `OPTIONS http://other HTTP/1.1\r\n${host}${close}\r\n`, statuses: [200], origin: ['OPTIONS * '], fields: ['host: other'] },
  { name: 'forwards OPTIONS for a path of a host', send: `OPTIONS http://other/ HTTP/1.1\r\n${host}${close}\r\n`, statuses: [200], origin: ['OPTIONS / '] },
  { name: 'forwards OPTIONS *', send: `OPTIONS * HTTP/1.1\r\n${host}${close}\r\n`, statuses: [200], origin: ['OPTIONS * '] },
  { name: 'takes an absolute target, whose host wins', send: `GET http://Inventory:80/stock HTTP/1.1\r\nHost: other\r\n${close}\r\n`, statuses: [200], origin: ['GET /stock '], fields: ['host: inventory:80'] },
  { name: 'takes an absolute target without a path', send: `GET http://inventory HTTP/1.1\r\n${host}${close}\r\n`, statuses: [200], origin: ['GET / '], fields: ['host: inventory'] },
  { name: 'takes an absolute target with a query alone', send: `GET http://inventory?x HTTP/1.1\r\n${host}${close}\r\n`, statuses: [200], origin: ['GET /?x '] },
  { name: 'takes IPv6 in an absolute target', send: `GET HTTP://[::1]:8443/a HTTP/1.1\r\n${host}${close}\r\n`, statuses: [200], origin: ['GET /a '], fields: ['host: [::1]:8443'] },
  { name: 'takes an IPv6 Host', send: `GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n${close}\r\n`, statuses: [200], fields: ['host: [2001:db8::1]:80'] },
  { name: 'writes an IPv6 Host in one spelling', send: `GET / HTTP/1.1\r\nHost: [2001:DB8:0::0001]:80\r\n${close}\r\n`, statuses: [200], fields: ['host: [2001:db8::1]:80'] },
  { name: 'writes a mapped IPv4 Host as what it is', send: `GET / HTTP/1.1\r\nHost: [::ffff:192.0.2.1]\r\n${close}\r\n`, statuses: [200], fields: ['host: 192.0.2.1'] },
  { name: 'writes Host as it was read', send: `GET / HTTP/1.1\r\nHost: Shop.Example.:80\r\n${close}\r\n`, statuses: [200], fields: ['host: shop.example:80'] },
  { name: 'serves HTTP/1.0 without Host and closes', send: 'GET /old HTTP/1.0\r\n\r\n', statuses: [200], origin: ['GET /old '], answer: /^HTTP\/1\.1 200 OK\r\n(?:[^\r]+\r\n)*Connection: close\r\n/ },
  { name: 'keeps HTTP/1.0 connections that ask for it', send: `GET /1 HTTP/1.0\r\n${host}Connection: keep-alive\r\n\r\nGET /2 HTTP/1.0\r\n${host}\r\n`, statuses: [200, 200], origin: ['GET /1 ', 'GET /2 '], answer: /Connection: keep-alive/ },
  { name: 'closes when the client says so', send: get('/1', close) + smuggled, statuses: [200], origin: ['GET /1 '] },
  { name: 'takes Proxy-Connection: close for what it means', send: get('/1', 'Proxy-Connection: close\r\n') + smuggled, statuses: [200], origin: ['GET /1 '] },
  { name: 'takes close among other options, in any case', send: get('/1', 'Connection: x-a, CLOSE\r\n') + smuggled, statuses: [200], origin: ['GET /1 '] },
  { name: 'sends no body in answer to HEAD, and goes on', send: `HEAD /1 HTTP/1.1\r\n${host}\r\n${last('/2')}`, statuses: [200, 200], origin: ['HEAD /1 ', 'GET /2 '] },
  { name: 'forwards 204 without a body, and goes on', send: get('/204') + last('/2'), statuses: [204, 200] },
  { name: 'forwards 304 without a body, and goes on', send: get('/304') + last('/2'), statuses: [304, 200] },
  { name: 'forwards 103 before the answer', send: last('/103'), statuses: [103, 200] },
  { name: 'sends no 103 to HTTP/1.0', send: 'GET /103 HTTP/1.0\r\n\r\n', statuses: [200] },
  { name: 'chunks an answer of unknown length', send: last('/stream'), statuses: [200], answer: /Transfer-Encoding: chunked\r\n[^]*\r\n0\r\n\r\n$/i },
  { name: 'ends an answer of unknown length to HTTP/1.0 by closing', send: 'GET /stream HTTP/1.0\r\n\r\n', statuses: [200], answer: /\r\n\r\nfirst,second$/ },
  { name: 'forwards trailers of an answer', send: last('/trailers'), statuses: [200], answer: /\r\n0\r\nX-Sum: 42\r\n\r\n$/ },
  { name: 'answers a pipeline in order', send: `${get('/1')}${post('Content-Length: 1\r\n', '2', '/2')}${get('/3')}${last('/4')}`, statuses: [200, 200, 200, 200], origin: ['GET /1 ', 'POST /2 2', 'GET /3 ', 'GET /4 '] },
  { name: 'answers what comes before an error in a pipeline', send: `${get('/1')}GET /bad path HTTP/1.1\r\n${host}\r\n${smuggled}`, statuses: [200, 400], origin: ['GET /1 '] },
  { name: 'answers a pipeline behind chunks', send: `${chunked('1\r\na\r\n0\r\n\r\n')}${last('/2')}`, statuses: [200, 200], origin: ['POST / a', 'GET /2 '] },
  { name: 'keeps an empty line between requests out of them', send: `${post('Content-Length: 1\r\n', 'a')}\r\n${last('/2')}`, statuses: [200, 200], origin: ['POST / a', 'GET /2 '] },
];

const paths: RequestCase[] = (
  [
    ['/a/../b', '/b'], ['/a/./b', '/a/b'], ['/a/b/..', '/a/'], ['/a/b/.', '/a/b/'], ['/../../etc', '/etc'], ['/..', '/'], ['/.', '/'], ['//a', '/a'],
    ['/a//b///c', '/a/b/c'], ['/a//../b', '/b'], ['/%61dmin', '/admin'], ['/%41', '/A'], ['/a/%2e%2e/b', '/b'], ['/a/%2E./b', '/b'], ['/a/.%2e/b', '/b'], ['/%2e/a', '/a'],
    ['/caf%c3%a9', '/caf%C3%A9'], ['/a%20b', '/a%20b'], ['/~me', '/~me'], ['/%7Eme', '/~me'], ['/a;x=1/b', '/a;x=1/b'], ['/a/..;x/b', '/b'], ['/a/.;/b', '/a/b'], ['/...', '/...'], ['/;x=1', '/;x=1'], ['/a/;x=1', '/a/;x=1'],
    ['/a..b', '/a..b'], ['/.well-known/x', '/.well-known/x'], ['/a?b/../c', '/a?b/../c'], ['/a?b%2fc', '/a?b%2fc'], ['/a?b//c', '/a?b//c'], ['/?', '/?'], ['/a%3fb', '/a%3Fb'], ['/a%23b', '/a%23b'],
    ['/a%25b', '/a%25b'], ['/a%252fb', '/a%252fb'], ['/a%252e%252e/b', '/a%252e%252e/b'], ["/a!$&'()*+,=:@b", "/a!$&'()*+,=:@b"],
  ] as const
).map(([sent, seen]) => ({ name: `makes ${sent} of the path ${seen}`.replace(/^makes (\S+) of the path \1$/, 'leaves the path $1 as it is'), send: last(sent), statuses: [200], origin: [`GET ${seen} `] }));

const hopByHop: RequestCase[] = [
  ...['Keep-Alive: timeout=5', 'Proxy-Connection: keep-alive', 'TE: trailers', 'Upgrade: h2c', 'HTTP2-Settings: AAAA', 'Proxy-Authorization: Basic x', 'Proxy-Authenticate: Basic'].map((line): RequestCase => ({
    name: `drops ${line.split(':')[0]}`, send: last('/', `${line}\r\n`), statuses: [200], fields: [`!${line.split(':')[0]!.toLowerCase()}`],
  })),
  { name: 'drops what Connection names', send: get('/', 'Connection: close, X-Drop,x-also\r\nX-Drop: 1\r\nX-Also: 1\r\nX-Keep: 1\r\n'), statuses: [200], fields: ['!x-drop', '!x-also', 'X-Keep: 1'] },
  { name: 'drops what several Connection fields name', send: get('/', 'Connection: X-Drop\r\nConnection: close\r\nX-Drop: 1\r\n'), statuses: [200], fields: ['!x-drop'] },
  ...['Authorization: Bearer t', 'Cookie: a=b', 'X-Forwarded-For: 192.0.2.1', 'X-Forwarded-Proto: https', 'X-Request-Id: 1', 'X-Auth-Subject: me', 'Forwarded: for=x', 'Via: 1.1 a', 'traceparent: x', 'X-Real-IP: 192.0.2.1'].map((line): RequestCase => ({
    name: `lets nobody drop ${line.split(':')[0]} by naming it in Connection`, send: get('/', `Connection: close, ${line.split(':')[0]}\r\n${line}\r\n`), statuses: [200], fields: [line],
  })),
  { name: 'lets nobody drop Host by naming it in Connection', send: get('/', 'Connection: close, Host\r\n'), statuses: [200], fields: ['host: shop'] },
  { name: 'lets nobody drop Content-Length by naming it in Connection', send: post('Connection: close, Content-Length\r\nContent-Length: 2\r\n', 'ok'), statuses: [200], origin: ['POST / ok'] },
  { name: 'never forwards Connection', send: get('/', 'Connection: close, x\r\n'), statuses: [200], fields: ['!x'] },
];

export const requestCases: readonly RequestCase[] = [...framing, ...syntax, ...targets, ...chunks, ...others, ...forwarding, ...paths, ...hopByHop];

/** The limits under which the cases are meant. */
export const caseLimits = { maxHeadBytes: 4_096, maxHeaders: 30, maxTargetBytes: 1_024, maxBodyBytes: 1_000 } as const;
