import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

export interface Peer {
  readonly name: string;
  /** Whether its access log is on, as ours is. */
  readonly log: 'on' | 'off';
  /** Files to write into a folder of its own, and the command to start it there. Undefined when it is not installed. */
  readonly start: ((at: { readonly listen: number; readonly origin: number; readonly admin: number; readonly directory: string }) => { files: Record<string, string>; command: string; args: string[] }) | undefined;
}

const dist = fileURLToPath(new URL('../', import.meta.url));
const installed = (command: string): boolean => spawnSync(command, ['-v']).error === undefined;

/** Ours, and the proxies that are installed, each set up for the same job: a plain hop with keep-alive upstreams. */
export function peers(): Peer[] {
  return [
    {
      name: 'gateway',
      log: 'on',
      start: ({ listen, origin, admin, directory }) => ({
        files: { 'gateway.json': JSON.stringify({ listen: { port: listen }, admin: { port: admin }, routes: [{ upstream: 'origin' }], upstreams: { origin: { endpoints: [`127.0.0.1:${origin}`] } } }) },
        command: process.execPath,
        args: [join(dist, 'gateway/main.js'), '--config', join(directory, 'gateway.json')],
      }),
    },
    {
      name: 'nginx',
      log: 'on',
      start: installed('nginx')
        ? ({ listen, origin, directory }) => ({
            files: {
              'nginx.conf': `daemon off; master_process off; worker_processes 1; pid ${directory}/nginx.pid; error_log ${directory}/error.log; events { worker_connections 4096; }
http { access_log ${directory}/access.log combined buffer=8k flush=1s; client_body_temp_path ${directory}/a; proxy_temp_path ${directory}/b; fastcgi_temp_path ${directory}/c; uwsgi_temp_path ${directory}/d; scgi_temp_path ${directory}/e;
  keepalive_requests 1000000000; upstream origin { server 127.0.0.1:${origin}; keepalive 256; keepalive_requests 1000000000; }
  server { listen 127.0.0.1:${listen}; location / { proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; } } }`,
            },
            command: 'nginx',
            args: ['-p', directory, '-c', join(directory, 'nginx.conf')],
          })
        : undefined,
    },
    {
      name: 'haproxy',
      log: 'on',
      start: installed('haproxy')
        ? ({ listen, origin, directory }) => ({
            files: {
              'haproxy.cfg': `global
  nbthread 1
  log stdout format raw local0
defaults
  mode http
  log global
  option httplog
  timeout connect 1s
  timeout client 60s
  timeout server 60s
  http-reuse always
listen hop
  bind 127.0.0.1:${listen}
  server origin 127.0.0.1:${origin}
`,
            },
            command: 'haproxy',
            args: ['-f', join(directory, 'haproxy.cfg'), '-q'],
          })
        : undefined,
    },
  ];
}
