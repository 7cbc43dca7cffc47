import { ProxyError } from '../errors/proxy-error.js';
import { fieldKind } from '../http/field-names.js';
import type { Layer } from '../http/service.js';

interface ViaOnceOptions {
  /** Tells this proxy from all others of its name; the same in all of its workers. */
  readonly instance: string;
  /** How often a request may have been here before: an application that is a proxy itself may send it on to us with its fields. */
  readonly maxEarlier: number;
}

/**
 * `via`, and the end of loops: each proxy adds to its entry, as the comment that RFC 9110 section 7.6.3 allows, who it is, and refuses a
 * request that has been through it before with `loop_detected`. A name alone would not do: proxies of one name stand behind each other.
 */
export function viaOnce(pseudonym: string, { instance, maxEarlier }: ViaOnceOptions): Layer {
  const comment = `(${instance})`;
  const received = { '1.0': `1.0 ${pseudonym} ${comment}`, '1.1': `1.1 ${pseudonym} ${comment}`, '2': `2 ${pseudonym} ${comment}` };
  return (next) =>
    function viaOnce(request, exchange) {
      const { headers } = request;
      if (headers.hasKind(fieldKind.via) && headers.getCombined('via')!.split(comment).length - 1 > maxEarlier) return Promise.reject(new ProxyError('loop_detected'));
      headers.append('Via', received[exchange.httpVersion]);
      return next(request, exchange);
    };
}
