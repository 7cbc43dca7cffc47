import { installed, ours, type Contender } from '../contender.js';
import { haproxyDefaults, haproxyForwarded, haproxyLog, haproxyTrace } from './plain-hop.js';

/* The edge: TLS, a token signed with RS256, a quota for each subject, an access log. */

export interface EdgeFiles {
  readonly cert: string;
  readonly key: string;
  /** Certificate and key in one file, as HAProxy wants them. */
  readonly both: string;
  readonly jwks: string;
  /** The issuer's public key as PEM. */
  readonly publicKey: string;
  readonly issuer: string;
  readonly audience: string;
}

export function edgeContenders(files: EdgeFiles): Contender[] {
  return [
    {
      name: 'gateway', log: 'on', isInstalled: true, portCount: 2, hops: 1,
      launch: ({ ports: [listen, admin], origins, directory }) => ({
        files: {
          'gateway.json': JSON.stringify({
            listen: { port: listen, tls: { cert: files.cert, key: files.key } }, admin: { port: admin },
            routes: [{ upstream: 'origin', jwt: { issuer: files.issuer, audience: files.audience, jwks: files.jwks, algorithms: ['RS256'] }, rateLimit: { max: 1_000_000_000, timeWindow: '1m', key: 'sub' } }],
            upstreams: { origin: { endpoints: [`127.0.0.1:${origins[0]}`] } },
          }),
        },
        processes: [ours('gateway', `${directory}/gateway.json`)],
      }),
    },
    {
      name: 'haproxy', log: 'on', isInstalled: installed('haproxy'), portCount: 1, hops: 1,
      launch: ({ ports: [listen], origins, directory }) => ({
        files: {
          'haproxy.cfg': `${haproxyDefaults}listen edge
  bind 127.0.0.1:${listen} ssl crt ${files.both} ssl-min-ver TLSv1.2
${haproxyLog('"caller":"%[var(txn.sub),json(utf8s)]",')}  stick-table type string len 64 size 100k expire 1m store http_req_rate(1m)
  http-request set-var(txn.alg) http_auth_bearer,jwt_header_query('$.alg')
  http-request deny deny_status 401 unless { var(txn.alg) -m str RS256 }
  http-request deny deny_status 401 unless { http_auth_bearer,jwt_payload_query('$.iss') -m str ${files.issuer} }
  http-request deny deny_status 401 unless { http_auth_bearer,jwt_payload_query('$.aud') -m str ${files.audience} }
  http-request set-var(txn.exp) http_auth_bearer,jwt_payload_query('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if { var(txn.exp),sub(txn.now) -m int lt 0 }
  http-request deny deny_status 401 unless { http_auth_bearer,jwt_verify(txn.alg,"${files.publicKey}") -m int 1 }
  http-request set-var(txn.sub) http_auth_bearer,jwt_payload_query('$.sub')
  http-request track-sc0 var(txn.sub)
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 1000000000 }
${haproxyForwarded}${haproxyTrace}  server origin 127.0.0.1:${origins[0]}
`,
        },
        processes: [['haproxy', '-f', `${directory}/haproxy.cfg`]],
      }),
    },
  ];
}
