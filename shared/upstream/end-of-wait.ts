import { ProxyError } from '../errors/proxy-error.js';

/**
 * What became of a request that is given up in our own line, before anything of it was sent. That an attempt has no time left there is
 * not the endpoint's failure, and it may be tried elsewhere: `upstream_queue_full`. Any other reason stays what it is.
 */
export function endOfWait(reason: Error): Error {
  return reason instanceof ProxyError && reason.code === 'upstream_timeout' ? new ProxyError('upstream_queue_full', { cause: reason }) : reason;
}
