import { isIPv4, isIPv6, type Socket } from 'node:net';
import { canonicalAddress } from './network-list.js';

/*
 * The PROXY protocol, versions 1 and 2 (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt): what a balancer that
 * passes bytes on puts in front of them to say who its client is.
 */

interface ProxyHeader {
  /** Bytes that it takes. */
  readonly length: number;
  /** The client's address; undefined when the sender speaks for itself (LOCAL, UNKNOWN), or of no internet address. */
  readonly source: string | undefined;
  readonly sourcePort?: number;
}

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');
const maxV1Length = 107;
/** Addresses take at most 216 bytes; the rest are extensions, which are skipped. */
const maxV2Length = 4_096;

/** Parses the header at the start of `data`; undefined while it is incomplete. Throws when there is none. */
export function parseProxyHeader(data: Buffer): ProxyHeader | undefined {
  const compared = Math.min(data.length, signature.length);
  if (data.subarray(0, compared).equals(signature.subarray(0, compared))) return data.length < 16 ? undefined : parseV2(data);
  return parseV1(data);
}

function parseV1(data: Buffer): ProxyHeader | undefined {
  const text = data.toString('latin1', 0, maxV1Length);
  const end = text.indexOf('\r\n');
  if (end === -1) {
    if (text.length >= maxV1Length || !(text.startsWith('PROXY ') || 'PROXY '.startsWith(text))) throw new Error('no PROXY protocol header');
    return undefined;
  }
  const line = text.slice(0, end);
  if (!line.startsWith('PROXY ')) throw new Error('no PROXY protocol header');
  if (/^PROXY UNKNOWN(?: |$)/.test(line)) return { length: end + 2, source: undefined };
  const [, family, source, destination, sourcePort, destinationPort] = /^PROXY (TCP4|TCP6) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) (\d{1,5}) (\d{1,5})$/.exec(line) ?? [];
  const isAddress = family === 'TCP4' ? isIPv4 : isIPv6;
  const arePorts = Math.max(Number(sourcePort), Number(destinationPort)) <= 65_535;
  if (source === undefined || !isAddress(source) || !isAddress(destination!) || !arePorts) throw new Error('a malformed PROXY protocol header');
  return { length: end + 2, source: canonicalAddress(source), sourcePort: Number(sourcePort) };
}

function parseV2(data: Buffer): ProxyHeader | undefined {
  const command = data[12]!;
  const family = data[13]! >> 4;
  const length = data.readUInt16BE(14);
  if (command !== 0x20 && command !== 0x21) throw new Error('an unknown version or command of the PROXY protocol');
  if (length > maxV2Length) throw new Error('an over-long PROXY protocol header');
  if (data.length < 16 + length) return undefined;
  const isLocal = command === 0x20;
  if (isLocal || (family !== 1 && family !== 2)) return { length: 16 + length, source: undefined };
  if (length < (family === 1 ? 12 : 36)) throw new Error('a PROXY protocol header that is too short for its addresses');
  const source = family === 1 ? data.subarray(16, 20).join('.') : formatIPv6(data.subarray(16, 32));
  return { length: 16 + length, source, sourcePort: data.readUInt16BE(family === 1 ? 24 : 48) };
}

function formatIPv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(index * 2).toString(16));
  return canonicalAddress(groups.join(':'))!;
}

/** Hears of connections that were closed since they did not begin with a header as they should: what was wrong, and whose they were. */
export type OnBadHeader = (reason: string, peerAddress: string) => void;

/**
 * Reads the header off a new connection of `peer` and hands the rest back to it. Calls `done` with the client's address, if the header
 * names one; destroys a connection that does not begin with one. One that ends before it has sent anything says nothing of its peer: so do
 * those that only ask whether anybody listens. Returns what is to be called, instead of waiting on, when time is up.
 */
export function readProxyHeader(socket: Socket, peer: string, onBad: OnBadHeader | undefined, done: (source: string | undefined, sourcePort?: number) => void): () => void {
  let held = Buffer.alloc(0);
  const refuse = (reason: string): void => {
    socket.destroy();
    onBad?.(reason, peer);
  };
  const onEnd = (): void => {
    if (held.length === 0) socket.destroy();
    else refuse('a PROXY protocol header that is cut off');
  };
  const onData = (data: Buffer): void => {
    held = Buffer.concat([held, data]);
    let header: ProxyHeader | undefined;
    try {
      header = parseProxyHeader(held);
    } catch (error) {
      refuse((error as Error).message);
      return;
    }
    if (header === undefined) return;
    socket.off('data', onData);
    socket.off('end', onEnd);
    socket.pause();
    if (held.length > header.length) socket.unshift(held.subarray(header.length));
    done(header.source, header.sourcePort);
  };
  socket.on('data', onData);
  socket.on('end', onEnd);
  return () => refuse(held.length === 0 ? 'no PROXY protocol header came in time' : 'only a part of a PROXY protocol header came in time');
}
