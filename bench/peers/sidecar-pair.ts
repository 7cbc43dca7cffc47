import { installed, ours, script, type Contender } from '../contender.js';
import { haproxyDefaults, haproxyTrace } from './plain-hop.js';

/* A client's sidecar and a server's, mutual TLS between them, with retries, breaker, trace, log and metrics. */

export interface PairFiles {
  readonly ca: string;
  readonly client: { readonly cert: string; readonly key: string; readonly both: string };
  readonly server: { readonly cert: string; readonly key: string; readonly both: string };
}

export function pairContenders({ ca, client, server }: PairFiles): Contender[] {
  return [
    {
      name: 'sidecar pair', log: 'on', isInstalled: true, portCount: 4, hops: 2,
      launch: ({ ports: [listen, between, adminA, adminB], origins, directory }) => ({
        files: {
          'client.json': JSON.stringify({
            service: 'client', admin: { port: adminA }, outbound: { listen: { port: listen } },
            upstreams: { server: { endpoints: [`127.0.0.1:${between}`], tls: { ca, cert: client.cert, key: client.key, serverName: 'localhost' }, retry: {}, breaker: {} } },
          }),
          'server.json': JSON.stringify({
            service: 'server', admin: { port: adminB },
            inbound: { listen: { port: between, tls: { cert: server.cert, key: server.key, clientAuth: { ca } } }, app: `127.0.0.1:${origins[0]}` },
          }),
        },
        processes: [ours('sidecar', `${directory}/client.json`), ours('sidecar', `${directory}/server.json`)],
      }),
    },
    {
      name: 'haproxy pair', log: 'on', isInstalled: installed('haproxy'), portCount: 2, hops: 2,
      launch: ({ ports: [listen, between], origins, directory }) => ({
        files: {
          'client.cfg': `${haproxyDefaults}  retries 2\n  option redispatch\n  retry-on conn-failure empty-response response-timeout 503\nlisten client\n  bind 127.0.0.1:${listen}\n${haproxyTrace}  server next 127.0.0.1:${between} ssl verify required ca-file ${ca} crt ${client.both} sni str(localhost) verifyhost localhost\n`,
          'server.cfg': `${haproxyDefaults}listen server\n  bind 127.0.0.1:${between} ssl crt ${server.both} ca-file ${ca} verify required ssl-min-ver TLSv1.2\n${haproxyTrace}  server app 127.0.0.1:${origins[0]}\n`,
        },
        processes: [['haproxy', '-f', `${directory}/server.cfg`], ['haproxy', '-f', `${directory}/client.cfg`]],
      }),
    },
  ];
}

/** No peer, since it is no proxy: the least that anything on Node.js costs in this place. */
export function bareRelays({ ca, client, server }: PairFiles): Contender {
  return {
    name: 'bare TLS relays on Node.js', log: 'off', isInstalled: true, portCount: 2, hops: 2,
    launch: ({ ports: [listen, between], origins }) => ({
      files: {},
      processes: [
        script('peers/bare-relay.js', 'client', String(listen), String(between), ca, client.cert, client.key),
        script('peers/bare-relay.js', 'server', String(between), String(origins[0]), ca, server.cert, server.key),
      ],
    }),
  };
}
