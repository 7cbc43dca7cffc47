import { isIP } from 'node:net';

/** `-shadow` behind the host, before the port, as Envoy does it; an address, which is no name, stays as it is. */
export function shadowAuthority(authority: string): string {
  const [, host = '', port = ''] = /^(.*?)(:\d*)?$/.exec(authority)!;
  if (host === '' || host.startsWith('[') || isIP(host) !== 0) return authority;
  return `${host}-shadow${port}`;
}
