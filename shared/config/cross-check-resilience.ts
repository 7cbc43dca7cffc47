import type { Problem } from './load.js';
import { duration } from './units.js';

type Document = Readonly<Record<string, unknown>>;

/** A gateway's route and upstream, a sidecar's upstream, or its inbound section: as far as contradictions go, the same. */
interface DeliveryDocument {
  readonly path: string;
  readonly own: Document;
  /** Where a route takes from what it does not say itself. */
  readonly upstream?: Document | undefined;
}

/** Contradictions in how requests are sent. Takes any document, also a wrong one. */
export function checkDelivery({ path, own, upstream = {} }: DeliveryDocument): Problem[] {
  return [...checkHedge(path, own, upstream), ...checkTimeoutCondition(path, own, upstream), ...checkPriority(path, own, upstream)];
}

function checkHedge(path: string, own: Document, upstream: Document): Problem[] {
  const delay = isObject(own['hedge']) ? milliseconds(own['hedge']['delay']) : undefined;
  const attemptTimeout = milliseconds(own['attemptTimeout'] ?? upstream['attemptTimeout']);
  const timeout = milliseconds(own['timeout'] ?? upstream['timeout']) ?? attemptTimeout;
  const limit = Math.min(timeout ?? Infinity, attemptTimeout ?? Infinity);
  if (delay === undefined || delay < limit) return [];
  return [{ path: `${path}.hedge.delay`, message: `no hedge is ever sent: a request is given up after ${limit}ms` }];
}

function checkTimeoutCondition(path: string, own: Document, upstream: Document): Problem[] {
  const on = isObject(own['retry']) ? own['retry']['on'] : undefined;
  if (!Array.isArray(on) || !on.includes('timeout') || own['attemptTimeout'] !== undefined || upstream['attemptTimeout'] !== undefined) return [];
  return [{ path: `${path}.retry.on`, message: '"timeout" never happens without attemptTimeout: one attempt may take all the time there is' }];
}

function checkPriority(path: string, own: Document, upstream: Document): Problem[] {
  const level = own['priority'];
  if (typeof level !== 'string') return [];
  const concurrency = own['adaptiveConcurrency'] ?? upstream['adaptiveConcurrency'];
  // A route may give a priority for the proxies behind alone.
  if (!isObject(concurrency)) return [];
  const levels = isObject(concurrency['priority']) && isObject(concurrency['priority']['levels']) ? Object.keys(concurrency['priority']['levels']) : [];
  if (levels.includes(level)) return [];
  return [{ path: `${path}.priority`, message: `there is no level "${level}"; there ${levels.length === 0 ? 'are none' : `is ${levels.join(', ')}`}` }];
}

function milliseconds(value: unknown): number | undefined {
  const parsed = duration.safeParse(value);
  return parsed.success ? parsed.data : undefined;
}

function isObject(value: unknown): value is Document {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
