import { RE2JS } from 're2js';
import type { RewriteConfig } from '../../config/shaping.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { behindPrefix, pathEnd } from '../../http/target-prefix.js';
import { parseTarget } from '../../http1/target.js';
import type { Layer } from '../../http/service.js';

/**
 * Changes path and host on the way to the upstream. The query stays as it came.
 *
 * What is put in place of something was checked with the configuration, and what a client sent is normalised
 * already; but a pattern can cut an escape in two, or put a dot beside a dot. So what comes of one is read anew as a
 * target, and a request whose new path would not be one, or would climb, is refused: `bad_request`.
 */
export function rewrite({ prefix, path, regex, host }: RewriteConfig, matchedPrefix: string): Layer {
  const newTarget = path !== undefined ? replaceAll(path) : prefix !== undefined ? replacePrefix(prefix, matchedPrefix) : regex === undefined ? undefined : replacePattern(regex);
  return (next) =>
    function rewrite(request, exchange) {
      let { target, authority } = request;
      // `OPTIONS *` asks about the server as a whole: there is no path in it.
      if (newTarget !== undefined && target !== '*') {
        const rewritten = newTarget(target);
        if (rewritten instanceof ProxyError) return Promise.reject(rewritten);
        target = rewritten;
      }
      if (host !== undefined) {
        authority = host;
        request.headers.set('Host', host);
      }
      return next({ ...request, target, authority }, exchange);
    };
}

function replaceAll(path: string): (target: string) => string {
  return (target) => path + target.slice(pathEnd(target));
}

function replacePrefix(prefix: string, matchedPrefix: string): (target: string) => string {
  const rest = behindPrefix(matchedPrefix);
  const start = prefix.endsWith('/') ? prefix.slice(0, -1) : prefix;
  return (target) => {
    const kept = rest(target);
    return kept.startsWith('/') ? start + kept : `${start === '' ? '/' : prefix}${kept}`;
  };
}

const maxTargetBytes = 8_192;
const climbs = /\/\.{1,2}(?:[/;]|$)/;

function replacePattern({ pattern, substitution }: NonNullable<RewriteConfig['regex']>): (target: string) => string | ProxyError {
  const compiled = RE2JS.compile(pattern);
  const groups = compiled.groupCount();
  const parts = substitution.split(/(\$\d)/).map((text) => (/^\$\d$/.test(text) ? Number(text.slice(1)) : text));
  return (target) => {
    const end = pathEnd(target);
    const path = target.slice(0, end);
    const match = compiled.matcher(path);
    if (!match.find()) return target;
    const replacement = parts.map((part) => (typeof part === 'string' ? part : part > groups ? '' : (match.group(part) ?? ''))).join('');
    const rewritten = path.slice(0, match.start()) + replacement + path.slice(match.end());
    if (rewritten.length > maxTargetBytes) return new ProxyError('target_too_long');
    if (!rewritten.startsWith('/') || climbs.test(rewritten)) return new ProxyError('bad_request');
    try {
      return parseTarget(rewritten, 'GET').target + target.slice(end);
    } catch (cause) {
      return new ProxyError('bad_request', { cause });
    }
  };
}
