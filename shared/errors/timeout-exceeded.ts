import type { HttpRequest } from '../http/message.js';
import { ProxyError } from './proxy-error.js';

/** Share of the time that may have passed before an attempt was sent which is said to have had all of it. */
const slack = 0.1;

/**
 * The time that configuration allows for a request is used up, as opposed to its caller's: `deadline_exceeded`. As such it is nobody's
 * failure, since it may have been spent in lines and on other attempts. An endpoint that had all of it has failed as by `attemptTimeout`.
 */
export class TimeoutExceeded extends ProxyError {
  constructor(
    /** Clock reading (ms) at which the time began. */
    private readonly startedAt: number,
    private readonly timeoutMs: number,
  ) {
    super('deadline_exceeded');
  }

  /** The failure of an attempt that was sent at `sentAt` (clock reading, ms; `Infinity`: never). What is still its client's to send is nobody's. */
  ofAttempt(sentAt: number, { body }: Pick<HttpRequest, 'body'>): ProxyError {
    return body.arrival?.isOwed === true || sentAt - this.startedAt > this.timeoutMs * slack ? this : new ProxyError('deadline_exceeded', { blamesUpstream: true });
  }
}
