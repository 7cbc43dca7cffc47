import { z } from 'zod';
import { balanceSchema } from './balance.js';
import { discoverySchema } from './discovery.js';
import { endpointSchema, labelsSchema, weightSchema, zoneSchema } from './endpoints.js';
import { http2LimitsSchema, http2UpstreamSchema, listenHttp2Schema, protocolSchema } from './http2.js';
import { identitySchema } from './identity.js';
import { upstreamPolicies } from './policies.js';
import { adaptiveConcurrencySchema } from './resilience.js';
import { clientTlsSchema, serverTlsSchema } from '../tls/config.js';
import { duration, durationFrom, isSocketPath, network, openUrl, size, sizeFrom, tcpAddress } from './units.js';

const host = z.string().regex(/^[\w.:%-]+$/, 'expected an address, or a name').default('127.0.0.1');

/** What a listener accepts. Defaults are safe for the open Internet. */
export const limitsSchema = z.strictObject({
  maxHeadBytes: sizeFrom(256).default(32_768).describe('Request line and fields together; beyond it 431.'),
  maxHeaders: z.int().positive().default(100).describe('Number of fields; beyond it 431.'),
  maxTargetBytes: sizeFrom(64).default(8_192).describe('Length of the request target; beyond it 414.'),
  maxBodyBytes: size.default(1_073_741_824).describe('Length of a request body; beyond it 413.'),
  headTimeout: durationFrom(1).default(10_000).describe('From the first byte of a request to the end of its head; beyond it 408.'),
  bodyIdleTimeout: durationFrom(1).default(30_000).describe('Longest pause within a request body; beyond it 408.'),
  minBodyRate: size.default(240).describe('Bytes a second that a request body must average over its first 5 s and from then on; below it 408. 0: no limit.'),
  writeTimeout: durationFrom(1).default(60_000).describe('Longest time in which a client takes nothing of an answer; then it is cut off. What it takes is seen when the kernel has room again, which Linux says when a third of its buffer is free: up to 1.8 MB with the default `tcp_wmem`, so that 60s may cut off who takes less than 30 KB a second.'),
  idleTimeout: duration.default(65_000).describe('Longest pause between two requests of a connection.'),
  maxRequestsPerConnection: z.int().positive().default(100_000).describe('After so many the connection is closed, politely.'),
  upgrades: z.array(z.string().regex(/^[a-z0-9!#$%&'*+.^_|~-]+$/, 'expected a lower-case protocol name')).default(['websocket']).describe('Protocols that a client may switch to; a request for another is answered as an ordinary one.'),
  tunnelIdleTimeout: durationFrom(1).default(3_600_000).describe('Longest silence on a connection that has switched to another protocol.'),
  maxConnections: z.int().positive().default(16_384),
  maxConnectionsPerClient: z.int().positive().default(16_384).describe('Connections of one client address.'),
  maxInFlight: z.int().positive().default(8_192).describe('Requests at a time in all; beyond it 503.'),
  http2: http2LimitsSchema.prefault({}),
});
export type LimitsConfig = z.output<typeof limitsSchema>;

/** Those that hold for requests and answers wherever they come from; the others are about the connections of a listener. */
export const requestLimitsSchema = limitsSchema.pick({ maxHeadBytes: true, maxHeaders: true, maxTargetBytes: true, maxBodyBytes: true, bodyIdleTimeout: true, minBodyRate: true, writeTimeout: true, maxInFlight: true });
export type RequestLimitsConfig = z.output<typeof requestLimitsSchema>;

/** The name that a proxy goes by in `Via`. */
export const viaName = (name: string) =>
  z.string().regex(/^[\w.-]{1,64}$/, 'expected letters, digits, dots and hyphens').default(name).describe('The name that this proxy goes by in the Via field.');

/** Where a listener listens. Port 0 takes a free one, which the log names. */
export const listenSchema = z.strictObject({ host, port: z.int().min(0).max(65535) });

/** Whoever is to send the header is known by an address. */
export const canSendHeader = ({ path, proxyProtocol }: { readonly path?: string | undefined; readonly proxyProtocol?: object | undefined }): boolean => path === undefined || proxyProtocol === undefined;
export const headerOnPath = { path: ['proxyProtocol'], error: 'cannot be combined with path: it is for peers of certain networks, and those of a Unix domain socket have no address' };

/** Where a proxy takes requests: a port, or the path of a Unix domain socket. */
export const proxyListenSchema = z
  .strictObject({
    host,
    port: z.int().min(0).max(65535).optional().describe('TCP port; 0 takes a free one, which the log names.'),
    path: z.string().refine(isSocketPath, 'expected an absolute path of at most 103 bytes').optional().describe('Path of a Unix domain socket, instead of a port.'),
    tls: serverTlsSchema.optional(),
    http2: listenHttp2Schema,
    proxyProtocol: z
      .strictObject({ from: z.array(network).min(1).describe('Peers that send it, and must.') })
      .optional()
      .describe('The PROXY protocol, version 1 or 2: balancers in front say with it who their client is. Not on a Unix domain socket, whose peers have no address.'),
  })
  .refine(({ port, path }) => (port === undefined) !== (path === undefined), { error: 'expected either a port or a path' })
  .refine(canSendHeader, headerOnPath)
  .refine(({ http2, tls }) => http2 !== 'fastify' || tls !== undefined, { path: ['http2'], error: 'fastify needs tls: it speaks HTTP/2 by ALPN alone' })
  .refine(({ http2, proxyProtocol }) => http2 !== 'fastify' || proxyProtocol === undefined, { path: ['proxyProtocol'], error: 'cannot be combined with http2: fastify' });
export type ListenConfig = z.output<typeof proxyListenSchema>;

export const upstreamSchema = z.strictObject({
  endpoints: z.array(endpointSchema).default([]).describe('Addresses, each host:port or unix:/path, or objects that say more about them.'),
  discovery: discoverySchema.optional().describe('Where further endpoints come from.'),
  tls: clientTlsSchema.optional().describe('Speaks TLS to the endpoints. Certificates are always verified.'),
  protocol: protocolSchema,
  http2: http2UpstreamSchema.prefault({}),
  ...upstreamPolicies,
  adaptiveConcurrency: adaptiveConcurrencySchema.optional().describe('Sheds what the upstream cannot take; all routes to it share the limit, but for those that have one of their own.'),
  balance: balanceSchema.prefault({}),
  connectTimeout: durationFrom(1).default(1_000).describe('Time to make a connection.'),
  idleTimeout: duration.default(4_000).describe('Age at which an unused connection is closed, where the peer does not say how long it keeps it (Keep-Alive: timeout); keep it below the peer’s.'),
  maxIdleTimeout: duration.default(60_000).describe('The same where the peer says it: a second before its end, but never beyond this, nor idleTimeout if that is more.'),
  bodyIdleTimeout: durationFrom(1).default(60_000).describe('Longest pause within a response body.'),
  maxConnections: z.int().positive().default(1_024).describe('Connections to one endpoint.'),
  maxPending: z.int().min(0).default(1_024).describe('Requests that wait for a connection to one endpoint; beyond it 503.'),
  maxHeadBytes: sizeFrom(256).default(65_536).describe('Length of a response head; beyond it 502.'),
});
export type UpstreamConfig = z.output<typeof upstreamSchema>;

const upstreamName = z.string().regex(/^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/, 'expected a lower-case DNS name');
export const upstreamsSchema = z.record(upstreamName, upstreamSchema);

/** The stream of snapshots that overrides the policies, routes and upstreams of the file. */
const controlPlaneSchema = z.strictObject({
  url: z
    .union([openUrl, z.array(openUrl).min(1).max(16)])
    .transform((urls): readonly string[] => (typeof urls === 'string' ? [urls] : urls))
    .describe('Base address of the control plane, or of several that are interchangeable: the proxy stays with one while it answers.'),
  ca: z.string().min(1).optional().describe('Path of a PEM file: the authorities that the control plane’s certificate is from; default: the system’s. Read again when it changes.'),
  allowPlaintext: z.boolean().optional().describe('Whether certificates may be asked for over plain http from another machine. Only where nobody can get in between.'),
  tokenFile: z.string().optional().describe('File with the bearer token that this proxy shows: one line. Read again when it changes; while there is none in it the one before is shown.'),
  node: z.string().regex(/^[A-Za-z0-9._-]{1,128}$/).describe('The name by which the control plane knows this proxy.'),
  snapshotFile: z.string().optional().describe('Where the last good snapshot is kept; the proxy starts from it.'),
  advertise: tcpAddress.optional().describe('Sidecar: the inbound address that is registered for the service.'),
  leaseTtl: durationFrom(100).default(5_000).describe('Sidecar: the registration lapses this long after its last renewal.'),
  weight: weightSchema.optional().describe('Sidecar: registered with the address, as the share of the traffic that this instance is to get; default 1.'),
  labels: labelsSchema.optional().describe('Sidecar: registered with the address; what subsets are chosen by, such as { version: v2 }.'),
});
export type ControlPlaneConfig = z.output<typeof controlPlaneSchema>;

/** What both proxies have in common. */
export const processSections = {
  workers: z
    .union([z.literal('auto'), z.int().min(1).max(64)])
    .default(1)
    .describe('Processes that share the ports; auto: one for each processor. Quotas are counted for all together. Limits and caps of upstreams are shared out: each worker has its part, at least 1, so one connection of HTTP/2 sees no more than that. maxConnectionsPerClient, breakers, adaptive limits and retry budgets hold for each.'),
  zone: zoneSchema.optional().describe('Where this proxy runs: endpoints of the same zone go first. A sidecar registers its service with it.'),
  admin: listenSchema.prefault({ port: 0 }).describe('The admin server; keep it on loopback.'),
  controlPlane: controlPlaneSchema.optional(),
  identity: identitySchema.optional().describe('Who this proxy is to the others of the mesh: what its certificate says.'),
  accessLog: z.boolean().default(true).describe('One JSON line for each exchange, on stdout.'),
  logLevel: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
  drainTimeout: duration.default(30_000).describe('How long requests in flight may take after SIGTERM.'),
  drainDelay: duration.default(0).describe('Time between "not ready" and closing the listeners, for balancers to notice.'),
};
