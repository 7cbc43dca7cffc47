import { readFileSync } from 'node:fs';
import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** What a load generator is told, as JSON in its first argument. */
export interface Target {
  readonly port: number;
  readonly seconds: number;
  /** Of an open loop: requests before the first that counts, at the same rate; a generator compiles for a while too. Default 0. */
  readonly runInSeconds?: number;
  readonly connections: number;
  /** Requests a second in all; the closed loop sends as many as it can. */
  readonly rate?: number;
  readonly path?: string;
  readonly host?: string;
  /** Field lines without CRLF; connections take them in turn. */
  readonly fields?: readonly string[];
  /** A file of field lines without CRLF: each request has the next of them, in a circle. */
  readonly fieldsFile?: string;
  /** Lines of the file that are passed over at first. Default 0. */
  readonly skip?: number;
  /** PEM file of the authority, when TLS is spoken. */
  readonly ca?: string;
}

export interface LoadReport {
  /** Lines of the file of fields that were sent. */
  readonly taken: number;
  /** Answered, well or not. */
  readonly requests: number;
  /** Answers other than a whole 200, and connections that were closed before the end or with a request unanswered. */
  readonly failed: number;
  /** Part of the requests that an open loop sent more than `onTimeMs` after they were due. */
  readonly late: number;
  /** From the first request that counts to the last answer. */
  readonly seconds: number;
  readonly rate: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

export const target = JSON.parse(process.argv[2] ?? '{}') as Target;

export function open(): Socket {
  if (target.ca === undefined) return connectTcp({ port: target.port, host: '127.0.0.1', noDelay: true });
  return connectTls({ port: target.port, host: '127.0.0.1', servername: 'localhost', ca: readFileSync(target.ca) }).setNoDelay(true);
}

export const readyEvent = target.ca === undefined ? 'connect' : 'secureConnect';

const lines = target.fieldsFile === undefined ? [] : readFileSync(target.fieldsFile, 'latin1').trimEnd().split('\n');
let taken = 0;

export const takenLines = (): number => taken;

/** What a connection sends: the same again and again, or with a field of its own each time. */
export function requestsFor(index: number): () => string {
  const { path = '/orders/7?x=1', host = 'shop.example', fields = [], skip = 0 } = target;
  const begin = `GET ${path} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: bench\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\nX-Client: 7\r\n`;
  if (lines.length > 0) return () => `${begin}${lines[(skip + taken++) % lines.length]}\r\n\r\n`;
  const whole = `${begin}${fields.length === 0 ? '' : `${fields[index % fields.length]}\r\n`}\r\n`;
  return () => whole;
}

/** Counts whole answers on one connection; answers must have a length and status 200. */
export class AnswerReader {
  #left = 0;
  #head = '';
  /** Length of an answer that came whole in one read: the next of that length needs only a look at its status. */
  #wholeLength = 0;

  /** Calls `onAnswer` for each answer that `data` completes; false when it is not a 200. */
  take(data: Buffer, onAnswer: (isOk: boolean) => void): void {
    if (data.length === this.#wholeLength && this.#left === 0 && this.#head === '') {
      // "200" behind "HTTP/1.1 ".
      onAnswer(data[9] === 50 && data[10] === 48 && data[11] === 48);
      return;
    }
    let offset = 0;
    while (offset < data.length) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, data.length - offset);
        this.#left -= taken;
        offset += taken;
        if (this.#left === 0) onAnswer(true);
        continue;
      }
      const end = data.indexOf('\r\n\r\n', offset, 'latin1');
      if (end === -1) {
        this.#head += data.toString('latin1', offset);
        return;
      }
      const isFresh = offset === 0 && this.#head === '';
      const head = this.#head + data.toString('latin1', offset, end);
      this.#head = '';
      offset = end + 4;
      const length = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? Number.NaN);
      const isOk = head.startsWith('HTTP/1.1 200 ') && !Number.isNaN(length);
      this.#left = isOk ? length : 0;
      if (isFresh && isOk && offset + length === data.length) this.#wholeLength = data.length;
      if (!isOk) onAnswer(false);
      else if (length === 0) onAnswer(true);
    }
  }
}
