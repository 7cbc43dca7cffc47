import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os';
import type { AddressInfo } from 'node:net';
import { plainAddress } from '../listener/network-list.js';

/** The addresses at which a proxy listens: a connection to one of them would come back to it. */
export class OwnAddresses {
  readonly #hostsByPort = new Map<number, Set<string>>();

  /** Takes down where a listener listens. */
  add({ address, port, family }: AddressInfo): void {
    if (family === 'unix') return;
    const hosts = this.#hostsByPort.get(port) ?? new Set<string>();
    this.#hostsByPort.set(port, hosts.add(plainAddress(address)));
  }

  /** Whether a connection to an address would arrive at one of them. */
  readonly has = (host: string, port: number): boolean => {
    const hosts = this.#hostsByPort.get(port);
    if (hosts === undefined) return false;
    const address = plainAddress(host);
    return hosts.has(address) || ((hosts.has('0.0.0.0') || hosts.has('::')) && isOfThisMachine(address));
  };
}

/** Whether an address leads to this machine. Looks at its interfaces each time, since their addresses come and go: not for what is asked often. */
export function isOfThisMachine(address: string): boolean {
  return /^127\./.test(address) || Object.values(networkInterfaces()).some((all: NetworkInterfaceInfo[] = []) => all.some((one) => one.address === address));
}
