import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { fieldKind, kindsOf } from '../../shared/http/field-names.js';
import { parseTarget } from '../../shared/http1/target.js';
import { startEngine, type TestEngine } from '../support/engine.js';
import { readBody } from '../support/origin.js';
import { generateCase, randomFrom } from './generate-case.js';

/*
 * The engine beside `node:http` in its strict mode, on the same bytes. What Node refuses the engine must refuse; what
 * both accept both must read alike, seen from an origin behind the engine; where the engine alone refuses, it must be for one of
 * the reasons below.
 */

/** Why the engine may refuse what Node accepts: forms that other servers are known to read differently. */
const stricter: readonly RegExp[] = [
  /^an? (?:encoded slash|backslash|malformed percent-encoding|fragment|request target in no known form|absolute target without a host|host that is not a host)/,
  /^(?:an encoded slash, backslash or NUL in a path|path parameters without a name|an https target on a connection without TLS)$/,
  /^(?:more than one Host|no Host|CONNECT|a version other than 1\.0 and 1\.1|an unknown method)$/,
  /^(?:more than one Content-Length|a Content-Length that is not a number|a transfer coding other than a single chunked|Transfer-Encoding in HTTP\/1\.0|both Content-Length and Transfer-Encoding)$/,
  /^a chunk size that is not a hexadecimal number$/,
  /^a malformed request line$/,
  /^byte 0x(?:0[0-8bcef]|1.|7f|0a|0d) in a head$/,
  /^expectation_failed$/,
];

interface Difference {
  readonly bytes: string;
  readonly reason: string;
}

export interface Outcome {
  readonly heads: number;
  readonly acceptedByBoth: number;
  readonly refusedByBoth: number;
  readonly refusedByEngineAlone: number;
  readonly differences: readonly Difference[];
}

/** Requests as somebody behind the wire saw them, each as comparable text; and what ended the connection. */
interface Reading {
  readonly requests: string[];
  readonly detail: string | undefined;
}

/** Runs `heads` generated requests through both. */
export async function compare(seed: number, heads: number): Promise<Outcome> {
  const random = randomFrom(seed);
  const cases = Array.from({ length: heads }, () => generateCase(random));
  const outcome = { heads, acceptedByBoth: 0, refusedByBoth: 0, refusedByEngineAlone: 0, differences: [] as Difference[] };
  let next = 0;
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      const lane = await Lane.open();
      for (let index = next++; index < cases.length; index = next++) {
        const bytes = cases[index]!;
        let verdict = await lane.judge(bytes);
        // What is real happens again. That a client was given up does not, once the machine has paused enough.
        for (let again = 0; typeof verdict === 'object' && again < (verdict.reason.endsWith('client_closed') ? 100 : 3); again++) verdict = await lane.judge(bytes);
        if (typeof verdict === 'object') outcome.differences.push({ bytes, reason: verdict.reason });
        else outcome[verdict]++;
      }
      await lane.close();
    }),
  );
  return outcome;
}

const lanes = 8;
/** Behind every case: whether it is answered shows where both believe the case to end. */
const sentinel = 'GET /sentinel HTTP/1.1\r\nHost: sentinel\r\nConnection: close\r\n\r\n';

/** One engine, one origin behind it, one server beside it, and one case at a time. */
class Lane {
  #seen: string[] = [];
  #pending: Promise<unknown>[] = [];

  private constructor(
    private readonly direct: Server,
    private readonly origin: Server,
    private engine: TestEngine | undefined,
  ) {}

  static async open(): Promise<Lane> {
    const lane: Lane = new Lane(await listen(() => lane), await listen(() => lane), undefined);
    const { port } = lane.origin.address() as AddressInfo;
    lane.engine = await startEngine([{ host: '127.0.0.1', port }], { limits: { maxHeadBytes: 16_384, upgrades: [] } });
    return lane;
  }

  note(request: Promise<string | undefined>): void {
    const slot = this.#seen.push('') - 1;
    const seen = this.#seen;
    this.#pending.push(request.then((text) => (seen[slot] = text ?? '')));
  }

  async judge(bytes: string): Promise<'acceptedByBoth' | 'refusedByBoth' | 'refusedByEngineAlone' | { reason: string }> {
    const node = await this.#read((this.direct.address() as AddressInfo).port, bytes);
    const ours = await this.#read(this.engine!.port, bytes);
    for (const [index, request] of ours.requests.entries()) {
      if (request !== node.requests[index]) return { reason: `Node reads ${node.requests[index] ?? 'nothing'}; behind the engine it is ${request}` };
    }
    if (ours.requests.length === node.requests.length) return ours.requests.length === 0 ? 'refusedByBoth' : 'acceptedByBoth';
    const { detail } = ours;
    if (detail !== undefined && stricter.some((pattern) => pattern.test(detail))) return 'refusedByEngineAlone';
    return { reason: `Node reads ${node.requests.length} requests, the engine ${ours.requests.length}: ${detail ?? 'it closed the connection'}` };
  }

  async close(): Promise<void> {
    await this.engine!.close();
    for (const server of [this.direct, this.origin]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  async #read(port: number, bytes: string): Promise<Reading> {
    this.#seen = [];
    this.#pending = [];
    const finished = this.engine!.finished;
    finished.length = 0;
    const answer = await send(port, bytes + sentinel);
    await Promise.all(this.#pending);
    const detail = /\r\nX-Detail: ([^\r]*)\r\n/i.exec(answer)?.[1];
    const code = finished.find(({ errorCode }) => errorCode !== undefined)?.errorCode;
    return { requests: this.#seen.filter((text) => text !== ''), detail: detail === '' || detail === undefined ? code : detail };
  }
}

function listen(lane: () => Lane): Promise<Server> {
  const server = createServer({ keepAliveTimeout: 60_000, requestTimeout: 0, headersTimeout: 0, connectionsCheckingInterval: 1 << 30 }, (request, response) => {
    const body = readBody(request).then(
      (text) => describe(request.method!, request.url!, request.rawHeaders, text),
      () => undefined,
    );
    lane().note(body);
    void body.then(() => response.end());
  });
  server.on('checkExpectation', (_request, response) => response.writeHead(417, { Connection: 'close' }).end());
  server.on('connect', (_request, socket) => socket.destroy());
  server.on('clientError', (_error, socket) => socket.destroy());
  return new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
}

function send(port: number, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.on('close', () => resolve(text));
    socket.end(Buffer.from(bytes, 'latin1'));
  });
}

/** A request in the form that a proxy is to keep: what it may change is taken out of both readings. */
function describe(method: string, url: string, rawHeaders: readonly string[], body: string): string {
  let fields: [name: string, value: string][] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) fields.push([rawHeaders[index]!.toLowerCase(), rawHeaders[index + 1]!]);
  const named = new Set(fields.filter(([name]) => name === 'connection').flatMap(([, value]) => value.toLowerCase().split(',').map((option) => option.trim())));
  let target = url;
  // HTTP/1.0 does without; the engine then names the origin.
  let host = fields.find(([name]) => name === 'host')?.[1].toLowerCase().replace(/^127\.0\.0\.1:\d+$/, '') ?? '';
  try {
    const parsed = parseTarget(url, method);
    target = parsed.target;
    host = parsed.authority ?? host;
  } catch {
    // The engine refuses it; then there is nothing to compare.
  }
  fields = fields.filter(
    ([name]) => (kindsOf(name) & fieldKind.hopByHop) === 0 && !['host', 'content-length', 'expect'].includes(name) && !(named.has(name) && (kindsOf(name) & fieldKind.protected) === 0),
  );
  return JSON.stringify([method, target, host, fields, body]);
}
