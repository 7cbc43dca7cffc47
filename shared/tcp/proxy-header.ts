import { isIPv4, isIPv6 } from 'node:net';

/** One end of a connection. */
export interface Party {
  readonly address: string;
  readonly port: number;
}

const signature = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1');

/**
 * The header of the PROXY protocol (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt) that tells of a client and of the address
 * that it connected to. Where these are not internet addresses of one family, it says that nothing is known.
 */
export function proxyHeader(version: 1 | 2, client: Party, destination: Party): Buffer {
  const family = [isIPv4, isIPv6].findIndex((isFamily) => isFamily(client.address) && isFamily(destination.address));
  if (version === 1) {
    const parties = `TCP${family === 0 ? 4 : 6} ${client.address} ${destination.address} ${client.port} ${destination.port}`;
    return Buffer.from(`PROXY ${family === -1 ? 'UNKNOWN' : parties}\r\n`, 'latin1');
  }
  // Version 2 with the command PROXY, then family and protocol (stream). Of parties unknown: unspecified, and no addresses.
  if (family === -1) return Buffer.concat([signature, Buffer.from([0x21, 0x00, 0, 0])]);
  const toBytes = family === 0 ? bytesOfIPv4 : bytesOfIPv6;
  const addresses = Buffer.concat([toBytes(client.address), toBytes(destination.address), uint16(client.port), uint16(destination.port)]);
  return Buffer.concat([signature, Buffer.from([0x21, family === 0 ? 0x11 : 0x21]), uint16(addresses.length), addresses]);
}

function bytesOfIPv4(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

function bytesOfIPv6(address: string): Buffer {
  // A zone is of this machine alone. URL brings any form, with `::` and dotted ends, into groups of hexadecimal digits.
  const normal = new URL(`http://[${address.split('%', 1)[0]}]`).hostname.slice(1, -1);
  const [head = '', tail] = normal.split('::', 2);
  const groups = (text: string): string[] => (text === '' ? [] : text.split(':'));
  const missing = tail === undefined ? 0 : 8 - groups(head).length - groups(tail).length;
  const all = [...groups(head), ...Array<string>(missing).fill('0'), ...groups(tail ?? '')];
  return Buffer.concat(all.map((group) => uint16(parseInt(group, 16))));
}

function uint16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}
