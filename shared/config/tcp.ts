import { z } from 'zod';
import { streamAuthorizationSchema } from './authorization.js';
import { subsetSchema } from './balance.js';
import { inboundMtlsSchema } from './mtls.js';
import { canSendHeader, headerOnPath, proxyListenSchema } from './sections.js';
import { duration, durationFrom } from './units.js';

/* Connections that are passed on as they are, whatever is spoken on them. */

const { host, port, path, tls, proxyProtocol } = proxyListenSchema.shape;

/** Names under which a proxy's other listeners go, in its log and in its metrics. */
export const reservedListenerNames: readonly string[] = ['listen', 'edge', 'inbound', 'outbound', 'admin'];

const tcpListenSchema = z
  .strictObject({ host, port, path, tls, proxyProtocol })
  .refine((listen) => (listen.port === undefined) !== (listen.path === undefined), { error: 'expected either a port or a path' })
  .refine(canSendHeader, headerOnPath);

export const tcpListenerSchema = z
  .strictObject({
    name: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9.-]{0,62}[a-z0-9])?$/, 'expected a lower-case name')
      .optional()
      .describe('Name in logs and metrics; default: tcp- and the name of the upstream.'),
    listen: tcpListenSchema.describe('Where connections are taken. With tls they are taken out of it: the upstream gets what is inside.'),
    upstream: z.string().min(1).describe('Name of one of `upstreams`; with its tls, TLS is spoken to the endpoints.'),
    subset: subsetSchema.optional(),
    authorization: streamAuthorizationSchema.optional(),
    connectTimeout: durationFrom(1)
      .default(5_000)
      .describe('Time to reach an endpoint, over all attempts; each has the connectTimeout of the upstream.'),
    connectAttempts: z.int().min(1).max(10).default(3).describe('Endpoints that are tried while no connection can be made; 1: no other is.'),
    idleTimeout: duration.default(3_600_000).describe('Longest silence on a connection, both ways together. 0: no limit.'),
    handshakeTimeout: durationFrom(1)
      .default(10_000)
      .describe('Time for what comes before the first byte: the header of the PROXY protocol, and TLS.'),
    maxConnections: z.int().positive().default(8_192).describe('Connections at a time; beyond it they are closed at once. Each takes two file descriptors.'),
    mtls: inboundMtlsSchema.describe('Whether clients must prove who they are by mutual TLS with the identity of this proxy: strict refuses plaintext, permissive takes it too, off passes whatever comes on as it is. Default: strict in a sidecar with an identity where the listener serves others, otherwise off.'),
    sendProxyProtocol: z.union([z.literal(1), z.literal(2)]).optional().describe('Tells the endpoint in the PROXY protocol, of this version, who the client is; before TLS.'),
  })
  .transform(({ name, ...rest }) => ({ name: name ?? `tcp-${rest.upstream}`, ...rest }));
export type TcpListenerConfig = z.output<typeof tcpListenerSchema>;

export const tcpListenersSchema = z.array(tcpListenerSchema).max(256).default([]).describe('Connections of other protocols than HTTP, each sent to an endpoint of an upstream as it is.');
