import { installed, ours, script, type Contender } from '../contender.js';

/* A plain hop: HTTP/1.1 in, HTTP/1.1 out over kept connections, nothing else. */

interface GatewayOptions {
  readonly name?: string;
  /** Settings beside listen, admin, routes and upstreams. */
  readonly extra?: Readonly<Record<string, unknown>>;
  readonly routes?: number;
}

export function gateway({ name = 'gateway', extra = {}, routes = 1 }: GatewayOptions = {}): Contender {
  return {
    name, log: 'on', isInstalled: true, portCount: 2, hops: 1,
    launch: ({ ports: [listen, admin], origins, directory }) => ({
      files: {
        'gateway.json': JSON.stringify({
          listen: { port: listen }, admin: { port: admin },
          // The one that matches is the last; the others differ in host, path or both.
          routes: [...Array.from({ length: routes - 1 }, (_, index) => ({ match: index % 2 === 0 ? { path: `/service-${index}/orders` } : { host: `host-${index}.example`, path: '/orders' }, upstream: 'origin' })), { upstream: 'origin' }],
          upstreams: { origin: { endpoints: origins.map((port) => `127.0.0.1:${port}`) } },
          ...extra,
        }),
      },
      processes: [ours('gateway', `${directory}/gateway.json`)],
    }),
  };
}

/** What ours tells the upstream about the client and the trace, in nginx's words: the same job. */
const nginxFields = ['Connection ""', 'Host $http_host', 'X-Forwarded-For $remote_addr', 'X-Forwarded-Proto $scheme', 'X-Forwarded-Host $http_host', 'Via "1.1 nginx"', 'X-Request-Id $request_id', 'traceparent "00-$request_id-0000000000000001-01"']
  .map((field) => `proxy_set_header ${field};`)
  .join(' ');
/** The fields of our access log. */
const nginxLog = `log_format ours escape=json '{"time":"$time_iso8601","level":"info","listener":"edge","requestId":"$request_id","client":"$remote_addr","method":"$request_method","authority":"$http_host","path":"$uri","status":$status,"route":"/","upstream":"origin","endpoint":"$upstream_addr","attempts":1,"traceId":"$request_id","spanId":"0000000000000001","requestBytes":$request_length,"responseBytes":$body_bytes_sent,"durationMs":$request_time,"upstreamMs":"$upstream_header_time"}';`;

export const nginx: Contender = {
  name: 'nginx', log: 'on', isInstalled: installed('nginx'), portCount: 1, hops: 1,
  launch: ({ ports: [listen], origins, directory }) => ({
    files: {
      'nginx.conf': `daemon off; master_process off; worker_processes 1; worker_rlimit_nofile 65536; pid ${directory}/nginx.pid; error_log ${directory}/error.log; events { worker_connections 20000; }
http { ${nginxLog} access_log ${directory}/access.log ours buffer=64k flush=1s; client_body_temp_path ${directory}/a; proxy_temp_path ${directory}/b; fastcgi_temp_path ${directory}/c; uwsgi_temp_path ${directory}/d; scgi_temp_path ${directory}/e;
  keepalive_requests 1000000000; upstream origin { ${origins.map((port) => `server 127.0.0.1:${port};`).join(' ')} keepalive 1024; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${listen}; location / { proxy_pass http://origin; proxy_http_version 1.1; ${nginxFields} proxy_buffering off; } } }`,
    },
    processes: [['nginx', '-p', directory, '-c', `${directory}/nginx.conf`]],
  }),
};

/** As many nginx as there are processors. */
export const nginxWorkers = (count: number): Contender => ({
  ...nginx,
  name: `nginx, ${count} worker${count === 1 ? '' : 's'}`,
  processors: count,
  launch: (place) => {
    const { files, processes } = nginx.launch(place);
    return { files: { 'nginx.conf': files['nginx.conf']!.replace('master_process off; worker_processes 1;', `worker_processes ${count};`) }, processes };
  },
});

export const gatewayWorkers = (count: number): Contender => ({ ...gateway({ name: `gateway, ${count} worker${count === 1 ? '' : 's'}`, extra: { workers: count } }), processors: count });

/** The same fields in HAProxy's words; what else a job logs comes after the upstream. Text that may hold a quotation mark is escaped. */
export const haproxyLog = (more = ''): string =>
  `  log-format '{"time":"%[date,utime(%Y-%m-%dT%H:%M:%SZ)]","level":"info","listener":"%f","requestId":"%ID","client":"%ci","method":"%HM","authority":"%[var(txn.host),json(utf8s)]","path":"%[var(txn.path),json(utf8s)]","status":%ST,"route":"/","upstream":"%b","endpoint":"%si:%sp","retries":%rc,${more}"traceId":"%[var(txn.trace)]","spanId":"%[var(txn.span)]","requestBytes":%U,"responseBytes":%B,"durationMs":%Ta,"upstreamMs":"%Tr"}'\n`;

export const haproxyDefaults = `global
  nbthread 1
  maxconn 12000
  no strict-limits
  log stdout format raw local0
defaults
  mode http
  log global
${haproxyLog()}  unique-id-format %{+X}o%ci%cp%fi%fp%Ts%rt%pid
  unique-id-header X-Request-Id
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
`;

/** What both of ours tell the upstream about the way that a request came, and log: a trace goes on, and begins where there is none. */
export const haproxyTrace = `  http-request set-var(txn.host) req.hdr(host)
  http-request set-var(txn.path) path
  http-request set-var(txn.trace) req.hdr(traceparent),field(2,-) if { req.hdr(traceparent) -m found }
  http-request set-var-fmt(txn.trace) %[rand,hex,lower]%[rand,hex,lower] unless { req.hdr(traceparent) -m found }
  http-request set-var(txn.span) rand,hex,lower
  http-request add-header Via "1.1 haproxy"
  http-request set-header traceparent 00-%[var(txn.trace)]-%[var(txn.span)]-01
`;
/** What the gateway adds about the client. */
export const haproxyForwarded = `  option forwardfor
  http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
`;

export const haproxy: Contender = {
  name: 'haproxy', log: 'on', isInstalled: installed('haproxy'), portCount: 1, hops: 1,
  launch: ({ ports: [listen], origins, directory }) => ({
    files: { 'haproxy.cfg': `${haproxyDefaults}listen hop\n  bind 127.0.0.1:${listen}\n${haproxyForwarded}${haproxyTrace}${origins.map((port, index) => `  server origin${index} 127.0.0.1:${port}\n`).join('')}` },
    processes: [['haproxy', '-f', `${directory}/haproxy.cfg`]],
  }),
};

export const caddy: Contender = {
  name: 'caddy', log: 'on', isInstalled: installed('caddy'), portCount: 1, hops: 1,
  launch: ({ ports: [listen], origins, directory }) => ({
    files: { Caddyfile: `{\n  admin off\n  auto_https off\n  storage file_system ${directory}/data\n}\nhttp://127.0.0.1:${listen}, http://shop.example:${listen} {\n  log {\n    output file ${directory}/access.log\n  }\n  reverse_proxy ${origins.map((port) => `127.0.0.1:${port}`).join(' ')}\n}\n` },
    processes: [['env', `HOME=${directory}`, 'GOMAXPROCS=1', 'caddy', 'run', '--config', `${directory}/Caddyfile`, '--adapter', 'caddyfile']],
  }),
};

/** The stock plugins with their defaults; `http-proxy` has no log of its own. */
export const stock = (name: '@fastify/http-proxy' | 'http-proxy'): Contender => ({
  name: `stock ${name}`, log: name === 'http-proxy' ? 'off' : 'on', isInstalled: true, portCount: 1, hops: 1,
  launch: ({ ports: [listen], origins }) => ({ files: {}, processes: [script('peers/stock.js', name, String(listen), String(origins[0]))] }),
});
