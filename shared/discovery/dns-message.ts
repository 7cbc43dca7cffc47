import { isIP } from 'node:net';
import { decode, encode, RECURSION_DESIRED, TRUNCATED_RESPONSE, type DecodedPacket } from 'dns-packet';

export type RecordType = 'A' | 'AAAA' | 'SRV';

export interface SrvRecord {
  readonly target: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/** What a resolver says of a name. `ttl` in seconds: the least of the records on the way. */
export type DnsAnswer =
  | { readonly kind: 'records'; readonly addresses: readonly string[]; readonly services: readonly SrvRecord[]; readonly ttl: number }
  | { readonly kind: 'not_found' | 'no_data' }
  | { readonly kind: 'server_failure'; readonly code: string };

/** The types of the package leave these out. */
type Packet = DecodedPacket & { readonly opcode: string; readonly rcode: string };

/** What fits through every network without fragments (DNS flag day 2020). */
const udpPayloadSize = 1_232;
const maxTtl = 86_400;

export function encodeQuery(id: number, name: string, type: RecordType): Buffer {
  return encode({
    type: 'query',
    id,
    flags: RECURSION_DESIRED,
    questions: [{ type, name: withoutDot(name), class: 'IN' }],
    additionals: [{ type: 'OPT', name: '.', udpPayloadSize, flags: 0, options: [] } as never],
  });
}

/**
 * The answer in a message, `truncated`, or undefined if the message is not the answer to this query: another id, another
 * question, no response at all, or nothing that can be read. What is not the answer may come from anybody and is passed over.
 */
export function decodeAnswer(message: Buffer, id: number, name: string, type: RecordType): DnsAnswer | 'truncated' | undefined {
  let packet: Packet;
  try {
    packet = decode(message) as Packet;
    // It reads on past the end of a record that is cut off.
    if (decode.bytes > message.length) return undefined;
  } catch {
    return undefined;
  }
  const [question, ...others] = packet.questions ?? [];
  if (packet.id !== id || packet.type !== 'response' || packet.opcode !== 'QUERY' || question === undefined || others.length > 0) return undefined;
  if (!sameName(question.name, name) || question.type !== type || (question.class ?? 'IN') !== 'IN') return undefined;
  if (((packet.flags ?? 0) & TRUNCATED_RESPONSE) !== 0) return 'truncated';
  const { rcode } = packet;
  if (rcode === 'NXDOMAIN') return { kind: 'not_found' };
  if (rcode !== 'NOERROR') return { kind: 'server_failure', code: rcode };
  return readRecords(packet, name, type);
}

/** Records of the name itself, or of what its aliases lead to. Others were not asked for, and are not believed. */
function readRecords({ answers = [] }: DecodedPacket, name: string, type: RecordType): DnsAnswer {
  let ttl = maxTtl;
  let owner = withoutDot(name).toLowerCase();
  const see = (record: { readonly ttl?: number | undefined }): void => {
    // RFC 2181 section 8: a TTL with its highest bit set is zero.
    const seconds = record.ttl ?? 0;
    ttl = Math.min(ttl, seconds >= 2 ** 31 ? 0 : seconds);
  };
  for (let hops = 0; hops < 16; hops++) {
    const alias = answers.find((record) => record.type === 'CNAME' && sameName(record.name, owner));
    if (alias?.type !== 'CNAME') break;
    see(alias);
    owner = withoutDot(alias.data).toLowerCase();
  }
  const addresses: string[] = [];
  const services: SrvRecord[] = [];
  for (const record of answers) {
    if (record.type !== type || (record.class ?? 'IN') !== 'IN' || !sameName(record.name, owner)) continue;
    if (record.type !== 'SRV' && isIP(record.data) === 0) continue;
    see(record);
    if (record.type === 'SRV') {
      const { target, port, priority = 0, weight = 0 } = record.data;
      services.push({ target: withoutDot(target), port, priority, weight });
    } else {
      addresses.push(record.data);
    }
  }
  return addresses.length + services.length === 0 ? { kind: 'no_data' } : { kind: 'records', addresses, services, ttl };
}

function sameName(one: string, other: string): boolean {
  return withoutDot(one).toLowerCase() === withoutDot(other).toLowerCase();
}

function withoutDot(name: string): string {
  return name.replace(/\.$/, '');
}
