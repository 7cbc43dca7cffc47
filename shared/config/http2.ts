import { z } from 'zod';
import { duration } from './units.js';

/** What a connection of HTTP/2 may do to a listener, besides what holds for every request. */
export const http2LimitsSchema = z.strictObject({
  maxConcurrentStreams: z.int().positive().max(2 ** 31 - 1).default(128).describe('Requests at a time on one connection; a client that sends more is refused with REFUSED_STREAM.'),
  streamIdleTimeout: duration.default(300_000).describe('Longest time in which neither side of a stream sends anything; then it is reset. 0: no limit.'),
  resetBurst: z.int().min(1).default(500).describe('Requests that a client may take back before they are answered (Rapid Reset), at once; beyond it the connection is closed with ENHANCE_YOUR_CALM.'),
  resetsPerSecond: z.int().min(1).default(50).describe('How many of `resetBurst` are forgiven in a second.'),
  controlFrameBurst: z.int().min(1).default(1_000).describe('PING and SETTINGS frames that a client may send at once; beyond it the connection is closed with ENHANCE_YOUR_CALM.'),
  controlFramesPerSecond: z.int().min(1).default(100).describe('How many of `controlFrameBurst` are forgiven in a second.'),
});

/** Which implementation speaks HTTP/2 on a listener, if any. */
export const listenHttp2Schema = z
  .union([z.boolean(), z.enum(['engine', 'fastify'])])
  .default(false)
  .transform((value): Http2Engine | false => (value === true ? 'engine' : value))
  .describe('Speaks HTTP/2 too, beside HTTP/1.1: with TLS where a client asks for it by ALPN, without TLS where it begins with it (prior knowledge). `fastify`: through Fastify, with TLS only, at several times the cost, and without limits.upgrades, limits.tunnelIdleTimeout and limits.http2.streamIdleTimeout.');
export type Http2Engine = 'engine' | 'fastify';

/** What is spoken to an upstream. */
export const protocolSchema = z
  .enum(['h1', 'h2', 'auto'])
  .default('h1')
  .describe('`h1`: HTTP/1.1. `h2`: HTTP/2, by ALPN with TLS, otherwise by prior knowledge. `auto`: with TLS what ALPN chooses; without it HTTP/2 for gRPC and HTTP/1.1 for the rest.');
export type UpstreamProtocol = z.output<typeof protocolSchema>;

/** Connections of HTTP/2 to an endpoint. */
export const http2UpstreamSchema = z.strictObject({
  maxConcurrentStreams: z.int().positive().default(100).describe('Requests at a time on one connection, if the endpoint allows as many; then another one is opened.'),
  pingInterval: duration.default(0).describe('A connection that carries requests is asked this often whether it is still there. 0: never but when a request on it is given up, at most once a second.'),
  pingTimeout: duration.default(5_000).describe('An endpoint that has not answered such a question for so long is taken for gone.'),
});
export type Http2UpstreamConfig = z.output<typeof http2UpstreamSchema>;
