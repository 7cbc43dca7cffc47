import { z } from 'zod';

/*
 * What a control plane sends, and what a proxy answers: the contract of the stream. Unknown keys are let pass, so that the two may be
 * of different versions.
 */

const path = z.string().max(1_024);

/** A version of configuration as a proxy receives it. */
export const snapshotSchema = z.looseObject({
  /** A digest of all the rest: equal versions are equal snapshots. */
  version: z.string().min(1).max(64),
  /** The document: what a snapshot may replace of the proxy's configuration. */
  config: z.looseObject({}),
  /** Resource of the control plane behind a path of the document; the longest path that fits counts. */
  sources: z.record(path, z.string()).default({}),
  /**
   * Upstreams whose endpoints may not be all, since the control plane has not been there for long, each with addresses that have left since:
   * a proxy adds what it is told to what it has, without those.
   */
  partial: z.record(z.string(), z.array(z.string())).default({}),
  /** Upstreams without endpoints that are meant to have none. Any other keeps those that the proxy has. */
  vacated: z.array(z.string()).default([]),
  /** The control plane has nothing, and never had: a proxy that has a configuration keeps it. */
  blank: z.boolean().default(false),
});
export type Snapshot = z.output<typeof snapshotSchema>;

/** A part of a snapshot that was left out, while the rest is in force. */
export const rejectionSchema = z.strictObject({
  path: path.describe('The part of the document: `routes[2]`, `upstreams.orders.retry`, `inbound.jwt`.'),
  resource: z.string().max(256).optional().describe('The resource that it comes from: `Policy/patience`.'),
  reason: z.string().max(4_096),
});
export type Rejection = z.output<typeof rejectionSchema>;

/** Rejections that are told of one snapshot; more are only counted. */
export const maxRejections = 64;

/** What a proxy says about a snapshot. */
export const answerSchema = z.strictObject({
  version: z.string().max(64),
  accepted: z.boolean().describe('Whether it is in force, but for what was rejected of it.'),
  reason: z.string().max(16_384).optional().describe('Why it is not in force.'),
  rejections: z.array(rejectionSchema).max(maxRejections).optional().describe('Parts of it that are not in force: the last good ones are, or none.'),
});
export type Answer = z.output<typeof answerSchema>;
