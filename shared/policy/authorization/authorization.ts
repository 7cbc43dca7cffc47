import type { AuthorizationConfig } from '../../config/authorization.js';
import { ProxyError } from '../../errors/proxy-error.js';
import { aliasRemoval } from '../../http/field-aliases.js';
import type { Layer } from '../../http/service.js';
import { withoutTrailers } from '../../http/trailer-filter.js';
import { ruleSet, type Decision, type Tally } from './rule-set.js';

interface AuthorizationDependencies {
  /** Where it is counted how often a rule decided so. */
  readonly tally: (decision: Decision, rule: string) => Tally;
}

/**
 * Lets in what the rules allow, and refuses the rest with `access_denied`.
 *
 * The caller is not told why: the exchange is, and with it the access log. In a dry run the exchange is told what would have been
 * refused, and nothing is. Stands behind what establishes who the caller is.
 *
 * Of a field that a rule asks for there is one spelling: what an application may read as it though it is written otherwise
 * (`X_Internal` for `X-Internal`) is removed before the rules are asked, so that they see what the application will. For the same reason
 * it is no trailer.
 */
export function authorization(config: AuthorizationConfig, { tally }: AuthorizationDependencies): Layer {
  const decide = ruleSet(config, tally);
  const askedFor = config.rules.flatMap(({ headers = {} }) => Object.keys(headers));
  const removeAliases = aliasRemoval(askedFor);
  const withTrailersLeft = withoutTrailers(askedFor, removeAliases);
  return (next) =>
    function authorization(request, exchange) {
      removeAliases?.(request.headers);
      const { decision, tally, refusal } = decide(request, exchange);
      tally.count++;
      if (refusal !== undefined) {
        exchange.refusal = refusal;
        if (decision === 'denied') return Promise.reject(new ProxyError('access_denied'));
      }
      return next(withTrailersLeft?.(request) ?? request, exchange);
    };
}
